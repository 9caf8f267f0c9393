-- Takes a key for a call, unless one has it.
-- KEYS: the key. ARGV: call, server, milliseconds for which it is remembered. Answers: nothing, or the call
-- that has it, its server, and what was answered.
local known = redis.call('HMGET', KEYS[1], 'call', 'server', 'answer')
if known[1] then
  return known
end
redis.call('HSET', KEYS[1], 'call', ARGV[1], 'server', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return {}
