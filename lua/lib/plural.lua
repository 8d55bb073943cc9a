-- plural(n, one[, many]): "1 message", "2 messages"; plural(n, "person", "people"): "2 people". Ships with the program:
-- require("plural") finds it from every script that has no lib/plural.lua of its own.
return function(n, one, many)
    return n == 1 and `1 {one}` or `{n} {many or one .. "s"}`
end
