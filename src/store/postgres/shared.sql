-- What servers count together. Counts are not precious: after a crash of the database they begin anew.
-- Arrivals are microseconds since 1970, other times milliseconds, by the database's clock.
CREATE UNLOGGED TABLE shared_pace (
    who TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    arrival BIGINT NOT NULL
) WITH (fillfactor = 70);
CREATE UNLOGGED TABLE shared_hour (
    who TEXT COLLATE "C" NOT NULL,
    minute BIGINT NOT NULL,
    calls BIGINT NOT NULL,
    tokens BIGINT NOT NULL,
    PRIMARY KEY (who, minute)
) WITH (fillfactor = 70);
CREATE UNLOGGED TABLE shared_call (
    call TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    session TEXT COLLATE "C" NOT NULL,
    until BIGINT NOT NULL
);
CREATE INDEX shared_call_session ON shared_call (session);
CREATE TABLE shared_key (
    key TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    call TEXT COLLATE "C" NOT NULL,
    server TEXT NOT NULL,
    answer TEXT,
    until BIGINT NOT NULL
);
CREATE INDEX shared_key_until ON shared_key (until);

CREATE FUNCTION shared_micros() RETURNS BIGINT LANGUAGE sql VOLATILE AS $$
    SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::bigint
$$;

-- When all requests so far, and one more, have caught up.
CREATE FUNCTION shared_next(whose TEXT, most BIGINT, now BIGINT) RETURNS BIGINT LANGUAGE plpgsql AS $$
DECLARE
    at BIGINT;
BEGIN
    SELECT arrival INTO at FROM shared_pace WHERE who = whose;
    at := LEAST(GREATEST(COALESCE(at, 0), now), now + 60000000);
    RETURN at + ceil(60000000::numeric / most)::bigint;
END
$$;

-- Microseconds until so many tokens fit below the limit: 0 when they do, none when they never will.
CREATE FUNCTION shared_frees(whose TEXT, tokens BIGINT, most BIGINT, this BIGINT, now BIGINT)
RETURNS BIGINT LANGUAGE sql VOLATILE AS $$
    SELECT GREATEST(later * 60000000 - now, 0)
    FROM generate_series(this, this + 60) AS later
    WHERE GREATEST((
            SELECT COALESCE(sum(hour.tokens), 0) FROM shared_hour AS hour
            WHERE hour.who = whose AND hour.minute > later - 60 AND hour.minute <= this), 0)
        + shared_frees.tokens <= most
    ORDER BY later LIMIT 1
$$;

-- Counts a call if every limit leaves room; a limit of 0 is none. Answers which limit is reached (0 for
-- none), how much is used, microseconds until it frees (-1: not by time), the minute.
CREATE FUNCTION shared_take(
    me TEXT, my_session TEXT, my_call TEXT, free BIGINT, cost BIGINT,
    requests BIGINT, all_requests BIGINT, hourly BIGINT, all_hourly BIGINT,
    at_once BIGINT, all_at_once BIGINT, lease BIGINT
) RETURNS TABLE (reached BIGINT, used BIGINT, wait BIGINT, minute BIGINT) LANGUAGE plpgsql AS $$
DECLARE
    now BIGINT;
    whose TEXT;
    most BIGINT;
BEGIN
    -- One after the other for a user, and for all where something of all is counted: what is read below is
    -- what others have written.
    PERFORM pg_advisory_xact_lock(1752527723, hashtext(me));
    IF all_requests > 0 OR all_hourly > 0 OR all_at_once > 0 THEN
        PERFORM pg_advisory_xact_lock(1752527724, 0);
    END IF;
    now := shared_micros();
    minute := now / 60000000;
    wait := -1;
    FOR which IN 0..1 LOOP
        most := CASE which WHEN 0 THEN at_once ELSE all_at_once END;
        IF most > 0 THEN
            SELECT count(*) INTO used FROM shared_call
            WHERE (which = 1 OR session = my_session) AND until > now / 1000;
            IF used >= most THEN
                reached := 1 + which;
                RETURN NEXT;
                RETURN;
            END IF;
        END IF;
    END LOOP;
    IF free = 0 THEN
        FOR which IN 0..1 LOOP
            whose := CASE which WHEN 0 THEN me ELSE '' END;
            most := CASE which WHEN 0 THEN requests ELSE all_requests END;
            IF most > 0 THEN
                wait := shared_next(whose, most, now) - 60000000 - now;
                IF wait > 0 THEN
                    reached := 3 + which;
                    used := most;
                    RETURN NEXT;
                    RETURN;
                END IF;
            END IF;
            most := CASE which WHEN 0 THEN hourly ELSE all_hourly END;
            IF most > 0 THEN
                wait := COALESCE(shared_frees(whose, cost, most, minute, now), -1);
                IF wait <> 0 THEN
                    reached := 5 + which;
                    SELECT GREATEST(COALESCE(sum(hour.tokens), 0), 0) INTO used FROM shared_hour AS hour
                    WHERE hour.who = whose AND hour.minute > shared_take.minute - 60;
                    RETURN NEXT;
                    RETURN;
                END IF;
            END IF;
        END LOOP;
        FOR which IN 0..1 LOOP
            whose := CASE which WHEN 0 THEN me ELSE '' END;
            most := CASE which WHEN 0 THEN requests ELSE all_requests END;
            IF most > 0 THEN
                INSERT INTO shared_pace AS pace VALUES (whose, shared_next(whose, most, now))
                ON CONFLICT (who) DO UPDATE SET arrival = excluded.arrival;
            END IF;
            IF which = 0 OR all_hourly > 0 THEN
                INSERT INTO shared_hour AS hour VALUES (whose, minute, 1, cost)
                ON CONFLICT ON CONSTRAINT shared_hour_pkey DO UPDATE
                SET calls = hour.calls + 1, tokens = hour.tokens + excluded.tokens;
            END IF;
        END LOOP;
    END IF;
    IF at_once > 0 OR all_at_once > 0 THEN
        INSERT INTO shared_call VALUES (my_call, my_session, now / 1000 + lease);
    END IF;
    reached := 0;
    used := 0;
    wait := 0;
    RETURN NEXT;
END
$$;

-- Enters what happened: {"settled": [[who, minute, tokens]], "left": [call], "held": [[call, session]]}. Users
-- come before all, as when calls are counted: so nobody waits for somebody who waits.
CREATE FUNCTION shared_tell(news JSONB, counts_all BIGINT, lease BIGINT) RETURNS VOID LANGUAGE plpgsql AS $$
DECLARE
    now BIGINT := shared_micros() / 1000;
BEGIN
    INSERT INTO shared_hour AS hour
    SELECT it->>0, (it->>1)::bigint, 0, sum((it->>2)::bigint)
    FROM jsonb_array_elements(news->'settled') AS it GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (who, minute) DO UPDATE SET tokens = hour.tokens + excluded.tokens;
    IF counts_all > 0 THEN
        INSERT INTO shared_hour AS hour
        SELECT '', (it->>1)::bigint, 0, sum((it->>2)::bigint)
        FROM jsonb_array_elements(news->'settled') AS it GROUP BY 2 ORDER BY 2
        ON CONFLICT (who, minute) DO UPDATE SET tokens = hour.tokens + excluded.tokens;
    END IF;
    DELETE FROM shared_call WHERE call IN (SELECT jsonb_array_elements_text(news->'left'));
    INSERT INTO shared_call SELECT it->>0, it->>1, now + lease
    FROM jsonb_array_elements(news->'held') AS it ORDER BY 1
    ON CONFLICT (call) DO UPDATE SET until = excluded.until;
    IF random() < 0.02 THEN
        PERFORM shared_forget(now);
    END IF;
END
$$;

-- Forgets what says nothing any more; what others work on is left for later.
CREATE FUNCTION shared_forget(now BIGINT) RETURNS VOID LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM shared_pace WHERE who IN (
        SELECT who FROM shared_pace WHERE arrival < now * 1000 FOR UPDATE SKIP LOCKED);
    DELETE FROM shared_hour WHERE (who, minute) IN (
        SELECT who, minute FROM shared_hour WHERE minute < now / 60000 - 60 FOR UPDATE SKIP LOCKED);
    DELETE FROM shared_call WHERE call IN (
        SELECT call FROM shared_call WHERE until < now FOR UPDATE SKIP LOCKED);
    DELETE FROM shared_key WHERE key IN (
        SELECT key FROM shared_key WHERE until < now FOR UPDATE SKIP LOCKED);
END
$$;

-- Takes a key for a call, unless one has it. Answers the call that has it, its server and its answer, or nothing.
CREATE FUNCTION shared_claim(my_key TEXT, my_call TEXT, my_server TEXT, lasts BIGINT)
RETURNS TABLE (known_call TEXT, known_server TEXT, known_answer TEXT) LANGUAGE plpgsql AS $$
DECLARE
    now BIGINT := shared_micros() / 1000;
BEGIN
    INSERT INTO shared_key AS old VALUES (my_key, my_call, my_server, NULL, now + lasts)
    ON CONFLICT (key) DO UPDATE
    SET call = excluded.call, server = excluded.server, answer = NULL, until = excluded.until
    WHERE old.until < now;
    IF NOT FOUND THEN
        RETURN QUERY SELECT call, server, answer FROM shared_key WHERE key = my_key;
    END IF;
END
$$;

-- The call that has the key is over: with an answer, or it has never begun.
CREATE FUNCTION shared_close(my_key TEXT, my_call TEXT, my_server TEXT, my_answer TEXT, lasts BIGINT)
RETURNS VOID LANGUAGE plpgsql AS $$
BEGIN
    IF my_answer IS NULL THEN
        DELETE FROM shared_key WHERE key = my_key AND call = my_call AND server = my_server;
    ELSE
        INSERT INTO shared_key AS old
        VALUES (my_key, my_call, my_server, my_answer, shared_micros() / 1000 + lasts)
        ON CONFLICT (key) DO UPDATE SET answer = excluded.answer, until = excluded.until
        WHERE old.call = my_call AND old.server = my_server;
    END IF;
END
$$;
