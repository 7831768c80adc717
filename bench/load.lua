-- Requests for wrk: of the sessions in a file, in an order that no cache of a processor likes.
-- Arguments: the file that says how a request looks, and with which session to begin.

local before, after, tokens, at, step = nil, nil, {}, 0, 7919

local function unescape(line)
    return (line:gsub("\\r", "\r"):gsub("\\n", "\n"))
end

function init(args)
    local file = assert(io.open(args[1]))
    before, after = unescape(file:read("*l")), unescape(file:read("*l"))
    for line in file:lines() do
        tokens[#tokens + 1] = line
    end
    file:close()
    if args[2] == "in-order" then
        step = 1
    end
end

function request()
    if #tokens == 0 then
        return before .. after
    end
    at = (at + step) % #tokens
    return before .. "session=" .. tokens[at + 1] .. "; " .. after
end

function done(summary, latency)
    local e = summary.errors
    io.write(string.format("RESULT %d %d %d %d\n", summary.requests, summary.duration,
        e.connect + e.read + e.write + e.timeout, e.status))
end
