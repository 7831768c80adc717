# shellcheck shell=bash
# To be sourced by the tests here and in packaging/: checks, and a closing line with their number.

passed=0 failed=0

# check NAME COMMAND...: holds if COMMAND succeeds.
check() {
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then
        passed=$((passed + 1))
        echo "ok      $name"
    else
        failed=$((failed + 1))
        echo "FAILED  $name"
        echo "        $*"
        [ -z "$output" ] || echo "        ${output//$'\n'/$'\n'        }"
    fi
}

# eventually SECONDS COMMAND...: repeats COMMAND until it succeeds.
eventually() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.5
    done
}

not() {
    ! "$@"
}

summary() {
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ]
}
