-- Counts a call if every limit leaves room, as src/guard/limiter does for one server.
-- KEYS: pace of the user, of all; hour of the user, of all; calls of the session, of all.
-- ARGV: call, free (1 or 0), tokens; requests a minute of the user, of all; tokens an hour of the user, of
-- all; calls at once of the session, of all (0 for no limit); milliseconds for which a place is held.
-- Answers: which limit is reached (0 for none), how much is used, microseconds until it frees (-1: not by
-- time), the minute.
local MINUTE = 60000000
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local minute = math.floor(now / MINUTE)
local call, free, tokens = ARGV[1], ARGV[2] == '1', tonumber(ARGV[3])
local lease = tonumber(ARGV[10])

local function whole(number)
  return string.format('%.0f', number)
end

local function running(key)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', whole(math.floor(now / 1000)))
  return redis.call('ZCARD', key)
end

for i = 0, 1 do
  local most = tonumber(ARGV[8 + i])
  if most > 0 then
    local used = running(KEYS[5 + i])
    if used >= most then
      return { 1 + i, used, -1, minute }
    end
  end
end

-- When all requests so far, and one more, have caught up.
local function arrival(key, limit)
  local at = tonumber(redis.call('GET', key) or '0')
  at = math.min(math.max(at, now), now + MINUTE)
  return at + math.ceil(MINUTE / limit)
end

-- Tokens of each of the last sixty minutes, and all together; what is older is forgotten.
local function hour(key)
  local slots, sum, old = {}, 0, {}
  local all = redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    local slot = tonumber(string.sub(all[i], 2))
    if slot + 60 <= minute then
      old[#old + 1] = all[i]
    elseif string.sub(all[i], 1, 1) == 't' and slot <= minute then
      slots[slot] = tonumber(all[i + 1])
      sum = sum + slots[slot]
    end
  end
  if #old > 0 then
    redis.call('HDEL', key, unpack(old))
  end
  return slots, sum
end

-- Microseconds until the tokens fit below the limit.
local function frees(slots, sum, limit)
  for later = minute, minute + 60 do
    sum = sum - (slots[later - 60] or 0)
    if math.max(sum, 0) + tokens <= limit then
      return later * MINUTE - now
    end
  end
  return -1
end

if not free then
  for i = 0, 1 do
    local requests, most = tonumber(ARGV[4 + i]), tonumber(ARGV[6 + i])
    if requests > 0 then
      local wait = arrival(KEYS[1 + i], requests) - MINUTE - now
      if wait > 0 then
        return { 3 + i, requests, wait, minute }
      end
    end
    if most > 0 then
      local slots, sum = hour(KEYS[3 + i])
      local used = math.max(sum, 0)
      if used + tokens > most then
        return { 5 + i, used, frees(slots, sum, most), minute }
      end
    end
  end
  for i = 0, 1 do
    local requests = tonumber(ARGV[4 + i])
    if requests > 0 then
      redis.call('SET', KEYS[1 + i], whole(arrival(KEYS[1 + i], requests)), 'PX', 120000)
    end
    -- The user's hour is told to the user, limited or not.
    if i == 0 or tonumber(ARGV[7]) > 0 then
      redis.call('HINCRBY', KEYS[3 + i], 'c' .. whole(minute), 1)
      redis.call('HINCRBY', KEYS[3 + i], 't' .. whole(minute), ARGV[3])
      redis.call('PEXPIRE', KEYS[3 + i], 3660000)
    end
  end
end

for i = 0, 1 do
  if tonumber(ARGV[8 + i]) > 0 then
    redis.call('ZADD', KEYS[5 + i], whole(math.floor(now / 1000) + lease), call)
    redis.call('PEXPIRE', KEYS[5 + i], lease)
  end
end
return { 0, 0, 0, minute }
