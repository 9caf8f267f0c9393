"""Redis' own client: redis_client.py CA PORT DEED NAME PASSWORD [WORD…]. Prints what came of it as JSON.

run COMMAND…         one command
try LINE…            whether each command is allowed
login                whether name and password are taken
attack OWN OTHER     what an account reaches of another whose keys begin with OTHER, by each way that Redis has
"""

import json
import sys

import redis


def connected(ca, port, name, password):
    return redis.Redis(
        host="localhost", port=int(port), username=name, password=password, ssl=True, ssl_ca_certs=ca,
        decode_responses=True, protocol=2, socket_timeout=30,
    )


def plain(value):
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(each) for each in value]
    return value if isinstance(value, (int, str, bool)) or value is None else str(value)


def run(client, *words):
    return plain(client.execute_command(*words))


def tried(client, *lines):
    return [answered(client, line.split()) for line in lines]


def login(client):
    try:
        return client.ping()
    except redis.exceptions.AuthenticationError:
        return False


def attack(client, own, other):
    """Each line is a way to reach another's. What is not denied is what the other's keys, channels or doings are."""
    lines = f"""
        GET {other}k | SET {other}k v | DEL {other}k | DEL {own}k {other}k | EXISTS {other}k | MGET {own}k {other}k
        HGET {other}h f | LPUSH {other}l v | BLPOP {other}l 1 | BLPOP {own}l {other}l 1 | SADD {other}s v | ZADD {other}z 1 v
        XADD {other}x * f v | XREAD COUNT 1 STREAMS {other}x 0 | XREAD COUNT 1 STREAMS {own}x {other}x 0 0
        XREADGROUP GROUP g c STREAMS {other}x > | XGROUP CREATE {other}x g 0
        EVAL return(redis.call('get',KEYS[1])) 1 {other}k | EVAL return(redis.call('get','{other}k')) 0
        EVAL return(redis.call('scan','0')) 0 | SCRIPT LOAD return(1) | SCRIPT FLUSH | FUNCTION LIST | FUNCTION FLUSH
        FCALL f 1 {other}k | SORT {own}l BY {other}w_* GET {other}* | SORT_RO {own}l GET {other}* | SORT {other}l
        OBJECT ENCODING {other}k | OBJECT FREQ {own}k | MEMORY USAGE {other}k | DEBUG OBJECT {other}k | DUMP {other}k
        COPY {other}k {own}k | COPY {own}k {other}k | COPY {own}k {own}k2 DB 1 | RENAME {other}k {own}k | RENAME {own}k {other}k
        MOVE {own}k 1 | SMOVE {other}s {own}s v | LMOVE {other}l {own}l LEFT LEFT | RPOPLPUSH {other}l {own}l
        SUNIONSTORE {own}s {other}s | ZUNIONSTORE {own}z 1 {other}z | BITOP AND {own}b {other}b | SETRANGE {own}k 536870000 x
        SCAN 0 | KEYS * | RANDOMKEY | DBSIZE | SELECT 1 | SWAPDB 0 1 | FLUSHDB | FLUSHALL
        MONITOR | CLIENT LIST | CLIENT INFO | CLIENT KILL TYPE normal | CLIENT TRACKING ON BCAST | CLIENT PAUSE 1000
        CLIENT NO-EVICT ON | CONFIG GET * | CONFIG SET maxmemory 1 | INFO | SLOWLOG GET | LATENCY LATEST | COMMAND COUNT
        ACL LIST | ACL WHOAMI | ACL SETUSER me | ACL CAT | PUBLISH {other}c v | PUBSUB CHANNELS | PSUBSCRIBE *
        SUBSCRIBE {other}c | SUBSCRIBE __keyspace@0__:{other}k | SSUBSCRIBE {other}c | WAIT 1 1 | REPLICAOF NO ONE
        MIGRATE 127.0.0.1 1 {own}k 0 1 | RESTORE {other}k 0 x | SHUTDOWN NOSAVE | SAVE | BGSAVE | MODULE LIST | CLUSTER INFO
        GEORADIUS {other}g 0 0 1 m | PFCOUNT {other}p | TOUCH {other}k | TYPE {other}k | EXPIRE {other}k 1 | OBJECT HELP
    """
    said = {}
    for line in (line.strip() for lines in lines.split("\n") for line in lines.split("|")):
        if line:
            said[line.replace(own, "OWN:").replace(other, "OTHER:")] = answered(client, line.split())
    return said


def answered(client, words):
    try:
        return f"allowed: {client.execute_command(*words)}"
    except redis.exceptions.NoPermissionError:
        return "denied"
    except redis.exceptions.ResponseError as error:
        return "denied" if "NOPERM" in str(error) else f"error: {error}"


if __name__ == "__main__":
    ca, port, deed, name, password, *more = sys.argv[1:]
    deeds = {"run": run, "try": tried, "login": login, "attack": attack}
    print(json.dumps(deeds[deed](connected(ca, port, name, password), *more)))
