# The rule that builds the module as a static library for nginx's own link step.
# Cargo finds nginx's sources and the headers that configure has made.

case $NGX_OBJS in
    /*) NGX_AUTHGEAR_OBJS=$NGX_OBJS ;;
    *)  NGX_AUTHGEAR_OBJS=$PWD/$NGX_OBJS ;;
esac

cat << END >> $NGX_MAKEFILE

$NGX_OBJS/nginx $NGX_OBJS/ngx_http_authgear_module.so:	$NGX_AUTHGEAR_LIB

$NGX_AUTHGEAR_LIB:	$NGX_MAKEFILE $(find "$NGX_AUTHGEAR_DIR/Cargo.toml" \
    "$NGX_AUTHGEAR_DIR/build.rs" "$NGX_AUTHGEAR_DIR/src" "$NGX_AUTHGEAR_DIR/session" \
    "$NGX_AUTHGEAR_DIR/cache" "$NGX_AUTHGEAR_DIR/metrics" \
    -name '*.rs' -o -name Cargo.toml | tr '\n' ' ')
	unset MAKEFLAGS MFLAGS; \\
	NGINX_SOURCE_DIR='$PWD' NGINX_BUILD_DIR='$NGX_AUTHGEAR_OBJS' \\
	CARGO_TARGET_DIR='$NGX_AUTHGEAR_OUT' \\
	cargo rustc --release --locked --crate-type staticlib --no-default-features \\
		--manifest-path '$NGX_AUTHGEAR_DIR/Cargo.toml' -p nginx-authgear

END
