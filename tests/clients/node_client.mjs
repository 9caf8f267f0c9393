// Judges husk with the official TypeScript MCP clients: node node_client.mjs HUSK_BINARY [ARG…], or URL [modern]
//
// A URL that ends with /sse is of the older transport. The client speaks the era of `initialize`, or with `modern` the
// stateless one, for which there is another client. Prints one line of JSON: {"ok": true, …} and exits 0, or
// {"ok": false, "wrong": …} and exits 1. The kernel's interpreter is HUSK_TEST_PYTHON.
import { createRequire } from "node:module";

// tests/run installs the packages beside the other tools of the tests, not beside this script.
const require = createRequire(new URL("../../target/test-node/package.json", import.meta.url));
const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
const { StdioClientTransport } = require("@modelcontextprotocol/sdk/client/stdio.js");
const { SSEClientTransport } = require("@modelcontextprotocol/sdk/client/sse.js");
const { StreamableHTTPClientTransport } = require("@modelcontextprotocol/sdk/client/streamableHttp.js");

const TOOLS = ["notebook_run_cell", "sandbox_status", "usage"];
const PNG = "89504e470d0a1a0a";
const PLOT = `
%matplotlib inline
import matplotlib.pyplot as plt
plt.plot([1, 4, 9])
plt.show()
`;
// The pauses are the cell's work: output that comes in pieces is what progress is about.
const SLOW = `
import time
for part in range(4):
    print("part", part, flush=True)
    time.sleep(0.3)
`;
const HANG = `
import time
print("started", flush=True)
time.sleep(30)
`;
const SOON = 5_000; // ms: what an agent should wait at most for its next cell after a cancelled one

const ME = { name: "husk-node-judge", version: "1" };
const STATELESS = "2026-07-28";
const MODERN = new URL("../../target/test-node/node_modules/@modelcontextprotocol/client/dist/index.mjs", import.meta.url);
const Modern = process.argv[3] === "modern" ? await import(MODERN) : undefined;

class Wrong extends Error {}

function expect(fact, what, got) {
  if (!fact) throw new Wrong(`expected ${what}, got ${JSON.stringify(got)}`);
}

async function main([binary, ...args]) {
  const seen = { client: `node sdk ${require("./node_modules/@modelcontextprotocol/sdk/package.json").version}` };
  const modern = args[0] === "modern" && binary.startsWith("http");
  const client = modern ? new Modern.Client(ME, { versionNegotiation: { mode: { pin: STATELESS } } }) : new Client(ME);
  if (modern) withOptionsLast(client);
  let verdict;
  try {
    await client.connect(modern ? new Modern.StreamableHTTPClientTransport(new URL(binary)) : server(binary, args, seen));
    if (modern) seen.protocol = client.getNegotiatedProtocolVersion();
    await judge(client, seen);
    verdict = { ok: true, ...seen };
  } catch (failure) {
    verdict = { ok: false, wrong: failure instanceof Wrong ? failure.message : String(failure), ...seen };
  }
  await client.close();
  console.log(JSON.stringify(verdict));
  process.exitCode = verdict.ok ? 0 : 1;
}

// The newer client takes no schema of a result between a request and its options.
function withOptionsLast(client) {
  const call = client.callTool.bind(client);
  client.callTool = (request, _schema, options) => call(request, options);
}

function server(target, args, seen) {
  const transport = target.startsWith("http") ? remote(new URL(target)) : launched(target, args);
  // The only place where this client tells what was negotiated.
  const told = transport.setProtocolVersion?.bind(transport);
  transport.setProtocolVersion = (version) => {
    seen.protocol = version;
    told?.(version);
  };
  return transport;
}

function remote(url) {
  return url.pathname === "/sse" ? new SSEClientTransport(url) : new StreamableHTTPClientTransport(url);
}

function launched(command, args) {
  // The client hands on only a few variables by itself; whoever starts this script decides about the rest.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("HUSK_TEST_")));
  return new StdioClientTransport({
    command,
    args: [...args, "--python", process.env.HUSK_TEST_PYTHON],
    env,
    stderr: "inherit",
  });
}

async function judge(client, seen) {
  seen.server = client.getServerVersion()?.name;
  await toolsAreThere(client, seen);
  await stateLasts(client);
  await anExceptionIsAnError(client);
  await aPlotIsAnImage(client, seen);
  for (const name of ["sandbox_status", "usage"]) await call(client, name, {});
  await progressArrives(client, seen);
  await aCancelledCellFreesTheKernel(client, seen);
}

async function toolsAreThere(client, seen) {
  // After this the client holds every structuredContent against its tool's outputSchema, with isError too.
  const { tools } = await client.listTools();
  seen.tools = tools.map((tool) => tool.name).sort();
  for (const name of TOOLS) {
    const tool = tools.find((tool) => tool.name === name);
    expect(tool, `a tool ${name}`, seen.tools);
    expect(tool.outputSchema, `an outputSchema on ${name}`, tool);
  }
}

async function stateLasts(client) {
  const none = await run(client, "x = 41");
  expect(text(none) === "(no output)", "`(no output)`", text(none));
  const answer = await run(client, "x + 1");
  expect(text(answer) === "42", "`42`", text(answer));
  expect(answer.structuredContent.status === "ok", "status ok", answer.structuredContent);
  expect(answer.structuredContent.state_lost === false, "the state to be kept", answer.structuredContent);
}

async function anExceptionIsAnError(client) {
  const result = await run(client, "1/0", { isError: true });
  const facts = result.structuredContent;
  expect(facts.status === "error", "status error", facts);
  expect(facts.error?.name === "ZeroDivisionError", "ZeroDivisionError", facts);
  expect(text(result).includes("ZeroDivisionError"), "a traceback", text(result));
}

async function aPlotIsAnImage(client, seen) {
  const result = await run(client, PLOT);
  const images = result.content.filter((block) => block.type === "image");
  expect(images.length === 1, "one image", result.content.map((block) => block.type));
  expect(images[0].mimeType === "image/png", "image/png", images[0].mimeType);
  const data = Buffer.from(images[0].data, "base64");
  expect(data.toString("hex").startsWith(PNG), "a PNG signature", data.toString("hex").slice(0, 16));
  expect(result.structuredContent.output.images === 1, "images: 1", result.structuredContent);
  seen.png_bytes = data.length;
}

async function progressArrives(client, seen) {
  const told = [];
  await run(client, SLOW, { onprogress: ({ progress }) => told.push(progress) });
  expect(told.length > 0, "progress from a cell that prints for a second", told);
  expect(told.every((now, i) => i === 0 || now > told[i - 1]), "progress that grows", told);
  seen.progress = told.length;
}

async function aCancelledCellFreesTheKernel(client, seen) {
  const caller = new AbortController();
  let hanging;
  await new Promise((started, failed) => {
    hanging = run(client, HANG, { onprogress: started, signal: caller.signal, timeout: 20_000 });
    hanging.then(() => failed(new Wrong("expected a sleeping cell to run, it ended")), failed);
  });
  caller.abort("the judge changed its mind");
  const outcome = await hanging.then(() => "an answer", () => "aborted");
  expect(outcome === "aborted", "no answer to a cancelled call", outcome);
  const begin = performance.now();
  const result = await run(client, "x");
  const took = performance.now() - begin;
  expect(text(result) === "41", "the state from before the cancelled cell", text(result));
  expect(took < SOON, `the next cell within ${SOON} ms`, took);
  seen.after_cancel_ms = Math.round(took);
}

function run(client, code, { isError = false, ...options } = {}) {
  return call(client, "notebook_run_cell", { code }, isError, options);
}

async function call(client, name, args, isError = false, options = {}) {
  const result = await client.callTool({ name, arguments: args }, undefined, options);
  expect(Boolean(result.isError) === isError, `isError ${isError} of ${name}`, result);
  expect(result.structuredContent, `structuredContent of ${name}`, result);
  return result;
}

function text(result) {
  const blocks = result.content.filter((block) => block.type === "text");
  return blocks.map((block) => block.text).join("\n").trim();
}

await main(process.argv.slice(2));
