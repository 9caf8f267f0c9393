// Judges the page on which a human watches, in a browser: node view.mjs SCENARIO URL TOKEN [OTHER_TOKEN]
//
// Scenarios: `watch` (at /view), `hostile` (outputs that would like to run), `app` (in a host, whose side is the
// official one). Prints and exits as node_client.mjs does. `node view.mjs --screenshot FILE URL` instead takes the
// picture of the README, of a server without tokens whose workspace is `examples`. The browser is HUSK_TEST_BROWSER.
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const installed = new URL("../../target/test-node/package.json", import.meta.url);
const require = createRequire(installed);
const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
const { StreamableHTTPClientTransport } = require("@modelcontextprotocol/sdk/client/streamableHttp.js");
const { chromium } = require("playwright-core");
const esbuild = require("esbuild");

const LONG = 60_000; // ms: far longer than anything takes
const APP = "text/html;profile=mcp-app";
const VIEW = "ui://husk/notebook";
const PLOT = `
import matplotlib.pyplot as plt
plt.plot([1, 4, 9])
plt.show()
`;
// The pauses are the cell's work: it goes on until it is interrupted, so that it can be seen while it runs.
const GOES_ON = `
import time
step = 0
while True:
    step += 1
    print("step", step, flush=True)
    time.sleep(0.2)
`;
const PWN = "window.top.pwned = window.pwned = parent.pwned = 1";
const HOSTILE = `
from IPython.display import display
bad = ${JSON.stringify(PWN)}
html = f'<script>{bad}</script><img src=x onerror="{bad}"><iframe srcdoc="<script>{bad}</script>"></iframe><a href="javascript:{bad}">a</a>'
svg = f'<svg xmlns="http://www.w3.org/2000/svg" onload="{bad}" width="9" height="9"><script>{bad}</script><rect width="9" height="9"/></svg>'
table = f'<table onmouseover="{bad}" style="position:fixed"><thead><tr><th>a</th></tr></thead><tr><td colspan=2 onclick="{bad}">{html}in the table</td></tr></table>'
far = '<table><tr><td><img src="http://127.0.0.1:1/leak"><link rel=stylesheet href="http://127.0.0.1:1/leak">far</td></tr></table>'
print(html, '</pre></script>')
display({"text/plain": "as words", "text/html": html}, raw=True)
display({"text/plain": "a table", "text/html": table}, raw=True)
display({"text/plain": "another", "text/html": far}, raw=True)
display({"text/plain": "svg", "image/svg+xml": svg}, raw=True)
display({"text/plain": "no png", "image/png": f'" onerror="{bad}'}, raw=True)
display({"text/plain": "js", "application/javascript": bad}, raw=True)
display({"text/plain": "md", "text/markdown": f'[a](javascript:{bad}) {html}'}, raw=True)
display({"text/plain": "odd", "image/x-icon\\" onerror=\\"": html}, raw=True)
print("all shown")
raise RuntimeError(html)
`;

class Wrong extends Error {}

function expect(fact, what, got) {
  if (!fact) throw new Wrong(`expected ${what}, got ${JSON.stringify(got)}`);
}

async function connect(url, token, extensions) {
  const client = new Client({ name: "husk-view-judge", version: "1" }, { capabilities: extensions ? { extensions } : {} });
  const requestInit = token ? { headers: { Authorization: `Bearer ${token}` } } : {};
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
  return client;
}

const call = (client, name, args) => client.callTool({ name, arguments: args }, undefined, { timeout: LONG });
const run = (client, code, more = {}) => call(client, "notebook_run_cell", { code, ...more });
const read = async (client, uri) => JSON.parse((await client.readResource({ uri })).contents[0].text);

// Everything that the page asks for, and every fault of it.
async function open(browser, options = {}) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(LONG);
  const page = await context.newPage();
  page.asked = [];
  page.faults = [];
  page.on("request", (request) => page.asked.push(request.url()));
  page.on("pageerror", (error) => page.faults.push(error.message));
  page.on("dialog", (dialog) => page.faults.push(dialog.message()));
  return page;
}

const view = (url) => url.replace(/mcp$/, "view");
const cell = (page, name) => page.locator(`article[data-cell=${name}]`);
const shows = (locator, text) => locator.filter({ hasText: text }).first().waitFor();

async function signIn(page, token) {
  await page.fill("#token", token);
  await page.press("#token", "Enter");
}

async function watch(browser, url, token, other) {
  const client = await connect(url, token);
  const page = await open(browser);
  await page.goto(view(url));
  await signIn(page, "nobody's");
  await shows(page.locator("#refused"), "This token is not accepted");
  await signIn(page, token);
  await shows(page.locator("#cells"), "No cell yet");
  // A cell, a value, a plot, an error: each appears without anything being done in the browser.
  await run(client, "print('first'); 6 * 7", { description: "To begin with" });
  await shows(cell(page, "c1").locator(".out"), "first");
  await shows(cell(page, "c1").locator(".out"), "42");
  await shows(cell(page, "c1").locator(".top"), "To begin with");
  await shows(cell(page, "c1").locator(".count"), "[1]");
  await run(client, PLOT);
  await page.waitForFunction(() => document.querySelector("[data-cell=c2] img")?.naturalWidth > 100);
  await run(client, "1/0");
  await shows(page.locator("article.error .out"), "ZeroDivisionError: division by zero");
  expect(!(await cell(page, "c3").innerText()).includes("\u001b"), "no escapes", await cell(page, "c3").innerText());
  await theCellThatRuns(page, client);
  await theState(page, client);
  await anotherSession(page, client);
  await withATokenInTheAddress(browser, url, token);
  // One who is somebody else sees nothing of it.
  const stranger = await open(browser);
  await stranger.goto(`${view(url)}#token=${other}`);
  await shows(stranger.locator("#cells"), "No cell yet");
  expect(!(await stranger.content()).includes("ZeroDivisionError"), "nothing of another's", "an error");
  expect(page.faults.length + stranger.faults.length === 0, "no faults", [page.faults, stranger.faults]);
  await page.click("#leave");
  await page.waitForSelector(".sign:not([hidden])");
  expect(await page.evaluate(() => sessionStorage.length) === 0, "no token left", "one");
  await client.close();
}

async function theCellThatRuns(page, client) {
  const going = await run(client, GOES_ON, { wait: 0 });
  expect(["queued", "running"].includes(going.structuredContent.status), "a cell that goes on", going.structuredContent);
  await shows(page.locator("article.running .out"), "step 1");
  await shows(page.locator("article.running .out"), "step 4");
  await shows(page.locator("article.running .state"), /runs · /);
  await shows(page.locator("nav [aria-current]"), "main");
  await page.waitForSelector("nav .dot.busy");
  await call(client, "notebook_interrupt", {});
  await shows(page.locator("article.interrupted .state"), "interrupted");
  await page.waitForSelector("nav .dot.idle");
}

async function theState(page, client) {
  const aside = page.locator("aside");
  await page.waitForFunction(() => document.querySelector("[aria-label=Memory]")?.ariaValueNow > 1e6);
  await shows(aside, "Isolation");
  await shows(aside.locator(".row"), "Cells4 of 5");
  // To watch is no call: all that were counted are those of this script.
  const before = await read(client, "husk://usage");
  expect(before.total.calls === 5, "5 calls", before.total);
  await run(client, "'the fifth'");
  const refused = await run(client, "'one too many'");
  expect(refused.isError, "a refusal", refused);
  await shows(aside.locator(".row"), "Cells5 of 5");
  await shows(aside.locator(".row"), "Refused calls1");
  await page.waitForSelector("[aria-label=Cells].full");
}

async function anotherSession(page, client) {
  await run(client, "print('elsewhere')", { session: "other" });
  await page.click("nav button:has-text('other')");
  await shows(cell(page, "c1").locator(".out"), "elsewhere");
  expect((await page.locator("article").count()) === 1, "one cell", await page.locator("article").count());
  await page.click("nav button:has-text('main')");
  await page.waitForFunction(() => document.querySelectorAll("article").length === 5);
}

async function withATokenInTheAddress(browser, url, token) {
  const page = await open(browser, { colorScheme: "dark" });
  await page.goto(`${view(url)}#session=other&token=${token}`);
  await shows(cell(page, "c1").locator(".out"), "elsewhere");
  expect(page.url() === `${view(url)}#session=other`, "no token in the address", page.url());
  expect(page.asked.every((asked) => !asked.split("#")[0].includes(token)), "no token in a request's address", page.asked);
  await page.reload();
  await shows(cell(page, "c1").locator(".out"), "elsewhere");
  const paper = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  expect(paper === "rgb(20, 23, 26)", "a dark page", paper);
}

async function hostile(browser, url, token) {
  const client = await connect(url, token);
  const page = await open(browser);
  await page.goto(`${view(url)}#token=${token}`);
  await run(client, HOSTILE, { description: `<img src=x onerror="${PWN}">` });
  await inert(page, page, token);
  const origin = new URL(url).origin;
  const elsewhere = page.asked.filter((asked) => !asked.startsWith(`${origin}/`) && !asked.startsWith("data:"));
  expect(elsewhere.length === 0, "requests to the server alone", elsewhere);
  // What stands around it holds, too: a script that got in would not run.
  await page.evaluate((bad) => {
    try {
      document.body.append(Object.assign(document.createElement("script"), { textContent: bad }));
    } catch {
      // It may be refused already when it is made.
    }
  }, PWN);
  expect((await page.evaluate(() => window.pwned)) === undefined, "the policy to hold", "a script that ran");
  await client.close();
}

// Nothing of what that cell has put out does anything.
async function inert(page, frame, token) {
  const out = frame.locator("article.error .out");
  await shows(out, "all shown");
  await shows(out, "as words");
  await shows(out.locator("td"), "in the table");
  await frame.waitForFunction(() => document.querySelector("#cells img[src^='data:image/svg']")?.naturalWidth === 9);
  const found = await frame.evaluate(() => {
    const all = [...document.querySelectorAll("#cells *")];
    return {
      names: [...new Set(all.map((one) => one.localName))].sort(),
      attributes: [...new Set(all.flatMap((one) => one.getAttributeNames()))].sort(),
      pictures: all.filter((one) => one.localName === "img" && !one.src.startsWith("data:")).length,
      pwned: window.pwned,
    };
  });
  for (const one of await out.locator("td, img, pre").all()) await one.dispatchEvent("click");
  const known = ["article", "b", "div", "img", "pre", "span", "table", "tbody", "td", "th", "thead", "tr"];
  expect(found.names.every((name) => known.includes(name)), "known elements", found.names);
  const plain = ["alt", "aria-label", "class", "colspan", "data-cell", "src"];
  expect(found.attributes.every((name) => plain.includes(name)), "plain attributes", found.attributes);
  expect(found.pictures === 0 && found.pwned === undefined, "nothing to have run", found);
  expect((await page.evaluate(() => window.pwned)) === undefined, "nothing to have run outside", "a script");
  expect(page.faults.length === 0, "no faults", page.faults);
  expect(!(await frame.locator("#cells").innerText()).includes(token), "no token", "one");
}

// A host in a page: the official one's half of the protocol, which hands on what the app asks for.
async function host(page, html, capabilities) {
  const contents = "import { AppBridge, PostMessageTransport } from '@modelcontextprotocol/ext-apps/app-bridge';"
    + "Object.assign(globalThis, { AppBridge, PostMessageTransport })";
  const built = await esbuild.build({
    stdin: { contents, resolveDir: fileURLToPath(new URL(".", installed)) },
    bundle: true, write: false, format: "iife", platform: "browser", logLevel: "error",
  });
  await page.goto("about:blank");
  await page.addScriptTag({ content: built.outputFiles[0].text });
  await page.evaluate(begin, { html, capabilities });
  const frame = await (await page.waitForSelector("iframe")).contentFrame();
  await page.waitForFunction(() => window.told?.initialized);
  return frame;
}

// Runs in the host's page. The policy is the one that hosts must use where an app declares no domains.
async function begin({ html, capabilities }) {
  const policy = "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    + " media-src 'self' data:; connect-src 'none'; frame-src 'none'; object-src 'none'";
  const meta = `<meta http-equiv="Content-Security-Policy" content="${policy}">`;
  const frame = document.createElement("iframe");
  frame.sandbox = "allow-scripts";
  document.body.append(frame);
  const told = (window.told = { sizes: 0 });
  const hostContext = { theme: "dark", displayMode: "inline", styles: { variables: { "--font-sans": "serif" } } };
  const bridge = (window.bridge = new window.AppBridge(null, { name: "host", version: "1" }, capabilities, { hostContext }));
  bridge.oninitialized = () => (told.initialized = true);
  bridge.onsizechange = ({ height }) => (told.sizes += 1, (told.height = height));
  bridge.onreadresource = ({ uri }) => window.readResource(uri);
  bridge.oncalltool = () => (told.called = true);
  await bridge.connect(new window.PostMessageTransport(frame.contentWindow, frame.contentWindow));
  frame.srcdoc = html.replace("<head>", `<head>${meta}`).replace(/^(?!.*<head>)(<!doctype html>)/i, `$1${meta}`);
}

async function app(browser, url, token) {
  const plain = await connect(url, token);
  const link = async (client) => (await client.listTools()).tools.map((tool) => tool._meta?.ui?.resourceUri).filter(Boolean);
  expect((await link(plain)).length === 0, "no app for a host that shows none", await link(plain));
  const client = await connect(url, token, { "io.modelcontextprotocol/ui": { mimeTypes: [APP] } });
  expect((await link(client)).join() === VIEW, `one tool that shows ${VIEW}`, await link(client));
  const listed = (await client.listResources()).resources.find((one) => one.uri === VIEW);
  expect(listed?.mimeType === APP, "the app in the list", listed);
  const [read] = (await client.readResource({ uri: VIEW })).contents;
  expect(read.mimeType === APP && read._meta.ui.prefersBorder === true, "an app", { ...read, text: "" });
  await thatReadsResources(browser, client, read.text, token);
  await thatReadsNothing(browser, client, read.text);
  await Promise.all([plain.close(), client.close()]);
}

async function thatReadsResources(browser, client, html, token) {
  const page = await open(browser);
  await page.exposeFunction("readResource", (uri) => client.readResource({ uri }));
  const frame = await host(page, html, { serverResources: {} });
  expect((await frame.evaluate(() => document.documentElement.dataset.theme)) === "dark", "the host's theme", "another");
  expect((await frame.evaluate(() => getComputedStyle(document.body).fontFamily)) === "serif", "the host's font", "another");
  await run(client, "print('of before')");
  // While the call is under way its cell is found by its code.
  const input = { code: GOES_ON, description: "Goes on" };
  await page.evaluate((input) => window.bridge.sendToolInput({ arguments: input }), input);
  await shows(frame.locator("article.running .top"), "Goes on");
  const going = run(client, GOES_ON, { description: "Goes on" });
  await shows(frame.locator("article.running .out"), "step 3");
  await call(client, "notebook_interrupt", {});
  const result = await going;
  await page.evaluate((result) => window.bridge.sendToolResult(result), result);
  await shows(frame.locator("article.interrupted .state"), "interrupted");
  expect((await frame.locator("article").count()) === 1, "the call's cell alone", await frame.locator("article").count());
  await frame.click("#more");
  await shows(cell(frame, "c1").locator(".out"), "of before");
  await shows(frame.locator("aside"), "Memory");
  await run(client, HOSTILE);
  await frame.click("#more");
  await frame.click("#more");
  await inert(page, frame, token);
  await page.waitForFunction(() => window.told.sizes > 0 && window.told.height > 100);
  await page.evaluate(() => window.bridge.sendHostContextChange({ theme: "light" }));
  await frame.waitForFunction(() => document.documentElement.dataset.theme === "light");
  expect(!(await page.evaluate(() => window.told.called)), "no call of a tool", "one");
  await page.evaluate(() => window.bridge.teardownResource({}));
}

async function thatReadsNothing(browser, client, html) {
  const page = await open(browser);
  const frame = await host(page, html, {});
  const args = { code: `print('in words')\n${PLOT}` };
  await page.evaluate((args) => window.bridge.sendToolInput({ arguments: args }), args);
  const result = await run(client, args.code);
  await page.evaluate((result) => window.bridge.sendToolResult(result), result);
  await shows(frame.locator("article.ok .out"), "in words");
  await frame.waitForFunction(() => document.querySelector("article img")?.naturalWidth > 100);
  expect(page.faults.length === 0, "no faults", page.faults);
}

async function screenshot(browser, url, file) {
  const client = await connect(url);
  const [session, width] = ["penguins", 1100];
  const page = await open(browser, { viewport: { width, height: 800 }, colorScheme: "light", reducedMotion: "reduce" });
  await page.goto(view(url));
  const cells = [
    ["Read the data", `import pandas as pd\npenguins = pd.read_csv("data/penguins.csv").dropna()\npenguins.groupby("species")[["flipper_length_mm", "body_mass_g"]].mean().round(1)`],
    ["Weight against flippers", `import matplotlib.pyplot as plt\nfig, ax = plt.subplots(figsize=(6.2, 2.1), layout="constrained")\nfor name, of in penguins.groupby("species"):  # one colour each\n    ax.scatter(of.flipper_length_mm, of.body_mass_g, s=9, label=name)\nax.legend(frameon=False)\nax.spines[["top", "right"]].set_visible(False)\nplt.show()`],
  ];
  for (const [description, code] of cells) await run(client, code, { session, description });
  await run(client, `import time\nfor fold in range(1, 100):\n    print(f"fold {fold}: {0.97 + fold % 3 / 200:.3f}")\n    time.sleep(1)`, { session, description: "Cross-validate", wait: 0 });
  await shows(page.locator("article.running .out"), "fold 2");
  await page.waitForFunction(() => [...document.images].every((one) => one.complete && one.naturalWidth > 0));
  const height = await page.evaluate(() => document.documentElement.scrollHeight);
  await page.setViewportSize({ width, height });
  await page.waitForFunction(() => scrollY === 0);
  await page.screenshot({ path: file });
  await call(client, "notebook_interrupt", { session });
  await client.close();
}

async function main([scenario, ...rest]) {
  const seen = { scenario };
  // The pages are husk's own; a browser that runs as root has no sandbox.
  const browser = await chromium.launch({ executablePath: process.env.HUSK_TEST_BROWSER, args: ["--no-sandbox"] });
  let verdict;
  try {
    seen.browser = browser.version();
    if (scenario === "--screenshot") await screenshot(browser, rest[1], rest[0]);
    else await { watch, hostile, app }[scenario](browser, ...rest);
    verdict = { ok: true, ...seen };
  } catch (failure) {
    verdict = { ok: false, wrong: failure instanceof Wrong ? failure.message : String(failure.stack), ...seen };
  }
  await browser.close();
  console.log(JSON.stringify(verdict));
  process.exit(verdict.ok ? 0 : 1);
}

await main(process.argv.slice(2));
