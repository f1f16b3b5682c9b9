-- KEYS: clock, stream. ARGV: epoch, time. Gives {epoch, time}: a stamp for a fill.

local epoch, now = tick()
return {epoch, us(now)}
