-- How a user stands.
-- KEYS: pace and hour of the user. Answers: microseconds until the requests have caught up, calls of this
-- hour, tokens of this hour.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local minute = math.floor(now / 60000000)
local ahead = math.max(tonumber(redis.call('GET', KEYS[1]) or '0') - now, 0)
local sums = { c = 0, t = 0 }
local all = redis.call('HGETALL', KEYS[2])
for i = 1, #all, 2 do
  local kind, slot = string.sub(all[i], 1, 1), tonumber(string.sub(all[i], 2))
  if slot + 60 > minute and slot <= minute then
    sums[kind] = sums[kind] + tonumber(all[i + 1])
  end
end
return { ahead, sums.c, math.max(sums.t, 0) }
