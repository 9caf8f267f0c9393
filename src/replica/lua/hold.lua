-- Calls go on.
-- KEYS: calls of the session of each, and last those of all. ARGV: milliseconds for which a place is held,
-- then the calls.
local time = redis.call('TIME')
local lease = tonumber(ARGV[1])
local till = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + lease)
for i = 1, #KEYS - 1 do
  for _, key in ipairs({ KEYS[i], KEYS[#KEYS] }) do
    redis.call('ZADD', key, till, ARGV[i + 1])
    redis.call('PEXPIRE', key, lease)
  end
end
