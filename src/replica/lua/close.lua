-- The call that has the key is over.
-- KEYS: the key. ARGV: call, server; what was answered and milliseconds for which it is remembered, or neither
-- where it has never begun.
local known = redis.call('HMGET', KEYS[1], 'call', 'server')
if known[1] and (known[1] ~= ARGV[1] or known[2] ~= ARGV[2]) then
  return
end
if #ARGV < 4 then
  redis.call('DEL', KEYS[1])
  return
end
redis.call('HSET', KEYS[1], 'call', ARGV[1], 'server', ARGV[2], 'answer', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
