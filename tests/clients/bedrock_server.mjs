// A Bedrock of AWS's own frames: answers `invoke-with-response-stream` with messages that
// @smithy/eventstream-codec writes, cut into pieces of 37 bytes. What is said depends on the model's
// name: `…throttled…` breaks off with an exception. Prints its port, and ends with its standard input.
import { createServer } from "node:http";
import { createRequire } from "node:module";

// tests/run installs the packages beside the other tools of the tests, not beside this script.
const require = createRequire(new URL("../../target/test-node/package.json", import.meta.url));
const { EventStreamCodec } = require("@smithy/eventstream-codec");

const codec = new EventStreamCodec(
  (bytes) => Buffer.from(bytes).toString("utf8"),
  (text) => new Uint8Array(Buffer.from(text, "utf8")),
);
const text = (value) => ({ type: "string", value });

function message(kind, name, body) {
  return codec.encode({
    headers: {
      [kind === "event" ? ":event-type" : ":exception-type"]: text(name),
      ":content-type": text("application/json"),
      ":message-type": text(kind),
      ":at": { type: "timestamp", value: new Date() },
      ":more": { type: "integer", value: 7 },
    },
    body: new Uint8Array(Buffer.from(JSON.stringify(body))),
  });
}

function chunk(event) {
  return message("event", "chunk", { bytes: Buffer.from(JSON.stringify(event)).toString("base64"), p: "abcd" });
}

function said(throttled) {
  const begin = [
    chunk({ type: "message_start", message: { id: "m", model: "served", usage: { input_tokens: 4, cache_read_input_tokens: 5, output_tokens: 1 } } }),
    chunk({ type: "content_block_start", index: 0, content_block: { type: "text", text: "" } }),
    chunk({ type: "content_block_delta", index: 0, delta: { type: "text_delta", text: "Grüße " } }),
  ];
  if (throttled) return [...begin, message("exception", "throttlingException", { message: "too many" })];
  return [
    ...begin,
    chunk({ type: "content_block_delta", index: 0, delta: { type: "text_delta", text: "von fern" } }),
    chunk({ type: "content_block_stop", index: 0 }),
    chunk({ type: "message_delta", delta: { stop_reason: "end_turn" }, usage: { output_tokens: 6 } }),
    chunk({ type: "message_stop" }),
  ];
}

const server = createServer(async (request, response) => {
  for await (const _ of request);
  const bytes = Buffer.concat(said(request.url.includes("throttled")));
  response.writeHead(200, { "content-type": "application/vnd.amazon.eventstream" });
  for (let at = 0; at < bytes.length; at += 37) response.write(bytes.subarray(at, at + 37));
  response.end();
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.resume().on("end", () => process.exit(0));
