//! What a cell puts out and how an answer shows it, on real kernels.

use serde_json::{Value, json};

use crate::support::host::{Answer, Host};

/// What most cells here need.
const IMPORTS: &str = "
import io, os, subprocess, sys, threading
import numpy as np
from PIL import Image as Pixels
from IPython.display import *
def picture(width, height, form='PNG', seed=1):
    noise = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    made = io.BytesIO(); Pixels.fromarray(noise).save(made, form); return made.getvalue()
";

fn host() -> Host {
    ready(Host::start(&[]))
}

fn with(settings: &[(&str, &str)]) -> Host {
    ready(Host::start_with(settings))
}

fn ready(mut host: Host) -> Host {
    host.ok(IMPORTS);
    host
}

/// The contents of a resource of the cell that was answered.
fn resource(host: &mut Host, answer: &Answer, rest: &str) -> Vec<Value> {
    let (session, cell) = (&answer.structured()["session"], &answer.structured()["cell"]);
    let uri = format!(
        "husk://sessions/{}/cells/{}/{rest}",
        session.as_str().unwrap(),
        cell.as_str().unwrap()
    );
    let read = host.call("resources/read", json!({ "uri": uri }));
    assert!(read["result"].is_object(), "{uri}: {read}");
    read["result"]["contents"].as_array().unwrap().clone()
}

fn text_of(host: &mut Host, answer: &Answer, rest: &str) -> String {
    resource(host, answer, rest)[0]["text"].as_str().unwrap().to_owned()
}

/// Width and height of a PNG or JPEG block.
fn dimensions(host: &mut Host, image: &Value) -> String {
    let data = image["data"].as_str().unwrap();
    host.ok(&format!("import base64; Pixels.open(io.BytesIO(base64.b64decode('{data}'))).size"))
}

/// The most memory that the server has held, in MB: without the pages of its program, of which a debug
/// build has as many as it has code.
fn peak_mb(host: &Host) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.child.id())).unwrap();
    let kilobytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    (kilobytes("VmHWM:") - kilobytes("RssFile:")) / 1024
}

#[test]
fn every_kind_of_output_shows_what_can_be_read() {
    let mut host = host();
    let mut check = |code: &str, expected: &str| assert_eq!(host.ok(code), expected, "{code}");
    check("display('a'); display(Markdown('# b')); 'c'", "'a'\n# b\n'c'");
    check("display(Latex('$x$')); display(JSON({'a': 1}))", "$x$\n{\"a\": 1}");
    check("import pandas as pd; pd.DataFrame({'a': [1, 2]})", "   a\n0  1\n1  2");
    check("print('old'); clear_output(); print('new')", "new\n");
    check("print('old'); clear_output(wait=True); print('new')", "new\n");
    check("print('old'); clear_output(wait=True)", "old\n");
    check("h = display('one', display_id='d'); print('x'); h.update('two')", "'two'\nx\n");
    check("print('\\r 10%\\r 50%', end=''); print('\\r100%')", "100%\n");
    check("open('f.py', 'w').write('a = 1\\n'); None", "(no output)");
    check("%load f.py", "# %load f.py\na = 1");
    check("display({}, raw=True)", "(no output)");
    check("print(1, flush=True); print(2, file=sys.stderr, flush=True); print(3)", "1\n2\n3\n");
    assert!(host.ok("len?").contains("Return the number of items in a container."));
}

#[test]
fn an_object_with_an_empty_text_shows_nothing() {
    let mut host = Host::start(&[]);
    assert_eq!(host.ok("class A:\n    def __repr__(self): return ''\nA()"), "(no output)");
}

#[test]
fn widgets_and_progress_bars_show_their_text() {
    let mut host = Host::start(&[]);
    let check = |host: &mut Host, code: &str, expected: &str| {
        let text = host.ok(code);
        assert!(text.contains(expected), "{code}: {text}");
        text
    };
    check(&mut host, "import ipywidgets; ipywidgets.IntSlider(value=3)", "IntSlider(value=3)");
    check(&mut host, "from tqdm.notebook import tqdm\nfor _ in tqdm(range(3)): pass", "0/3");
    let bar = "from tqdm import tqdm\nfor _ in tqdm(range(500), mininterval=0): pass";
    let text = check(&mut host, bar, "100%|");
    assert_eq!(text.matches("/500").count(), 1, "{text}");
}

#[test]
fn a_display_stays_the_output_that_it_was_when_it_is_updated() {
    let mut host = host();
    let first = host.cell("h = display(HTML('<b>1</b>'), display_id='d')");
    assert!(first.text().contains("/outputs/1]"), "{}", first.text());
    let later = host.cell("h.update(HTML('<b>2</b>')); print('x')");
    let blocks: Vec<Value> = later.blocks("text").iter().map(|b| b["text"].clone()).collect();
    assert_eq!(blocks[..2], ["x\n", "[late output of c2]"], "{later:?}");
    let shown = resource(&mut host, &first, "outputs/1");
    let html = shown.iter().find(|one| one["mimeType"] == "text/html").unwrap();
    assert_eq!(html["text"], "<b>2</b>");
    assert_eq!(host.ok("'told'"), "'told'");
}

#[test]
fn all_representations_are_resources() {
    let mut host = host();
    let check = |host: &mut Host, code: &str, mime: &str, begins: &str| {
        let answer = host.cell(code);
        let all = resource(host, &answer, "outputs/1");
        let one = all.iter().find(|one| one["mimeType"] == mime);
        let one = one.unwrap_or_else(|| panic!("{code}: {all:?}"));
        let value = one["text"].as_str().or(one["blob"].as_str()).unwrap();
        assert!(value.starts_with(begins), "{code}: {value}");
    };
    check(&mut host, "SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"/>')", "image/svg+xml", "<svg");
    check(&mut host, "HTML('<b>x</b>')", "text/html", "<b>x");
    check(&mut host, "Math('x')", "text/latex", "$");
    check(&mut host, "JSON({'a': 1})", "application/json", "{\"a\"");
    check(&mut host, "import pandas; pandas.DataFrame({'a': [1]})", "text/html", "<div>");
    check(&mut host, "Image(data=picture(2, 2), format='png')", "image/png", "iVBORw0KGgo");
    check(&mut host, "Image(data=picture(9, 9, 'JPEG'), format='jpeg')", "image/jpeg", "/9j/");
}

#[test]
fn images_are_images_and_what_is_none_is_not_sent_as_one() {
    let mut host = host();
    let answer = host.cell("Image(data=picture(9, 9, 'JPEG'), format='jpeg')");
    assert_eq!(answer.blocks("image")[0]["mimeType"], "image/jpeg");
    for broken in ["b'no image'", "picture(9, 9, 'JPEG')"] {
        let answer = host.cell(&format!("Image(data={broken}, format='png')"));
        assert_eq!(answer.blocks("image").len(), 0, "{answer:?}");
        assert!(answer.text().contains("/outputs/1]"), "{}", answer.text());
    }
}

#[test]
fn a_large_image_is_scaled_down_and_its_original_is_readable() {
    let mut host = host();
    let answer = host.cell("Image(data=picture(1000, 700), format='png')");
    let image = answer.blocks("image").remove(0);
    assert!(image["data"].as_str().unwrap().len() <= (1 << 20) / 3 * 4 + 4);
    let size = dimensions(&mut host, &image);
    let told = answer.text();
    let told = told.split_once("is scaled down (").unwrap().1.split_once(" of 1000×700").unwrap();
    assert_eq!(size.trim_matches(['(', ')']), told.0.replace('×', ", "));
    let original = resource(&mut host, &answer, "outputs/1");
    let length = host.ok("len(picture(1000, 700))").parse::<usize>().unwrap();
    let blob = original.iter().find_map(|one| one["blob"].as_str()).unwrap();
    assert_eq!(blob.len(), length.div_ceil(3) * 4);
}

#[test]
fn output_after_the_end_of_its_cell_is_told_once_as_late() {
    let mut host = host();
    let folder = host.workspace.path();
    let (go, told) = (folder.join("go"), folder.join("told"));
    host.ok(&format!(
        "
def late():
    while not os.path.exists({go:?}): pass
    print('of the thread', flush=True); open({told:?}, 'w')
threading.Thread(target=late).start()"
    ));
    std::fs::write(go, "").unwrap();
    while !told.exists() {
        std::thread::yield_now();
    }
    let seen = host.ok("None") + &host.ok("None");
    assert_eq!(seen.matches("[late output of c2]of the thread\n").count(), 1, "{seen}");
    assert_eq!(host.ok("None"), "(no output)");
}

#[test]
fn late_output_shares_the_room_of_its_answer() {
    let mut host = host();
    // An update is heard before the end of the cell that makes it.
    host.ok("for n in range(12): display('x', display_id=f'd{n}')");
    host.ok("display('x', display_id='text')");
    let answer = host.cell(
        "
for n in range(12):
    update_display(Image(data=picture(800, 700, seed=n), format='png'), display_id=f'd{n}')
update_display(Markdown('y' * 20_000), display_id='text')
print('x' * 20_000)
Image(data=picture(20, 20), format='png')",
    );
    let images = answer.blocks("image");
    assert_eq!(images.len(), 10);
    for image in &images {
        assert!(image["data"].as_str().unwrap().len() <= (1 << 20) / 3 * 4 + 4);
    }
    let blocks = answer.blocks("text");
    let text = blocks.iter().filter_map(|block| block["text"].as_str());
    let shown: usize = text.filter(|text| !text.starts_with('[')).map(str::len).sum();
    assert!(shown <= 8192 + 200, "{shown}");
    // What found no room comes with the next answer.
    assert!(answer.text().contains("[late output of c2]"), "{}", answer.text());
    let all = answer.text() + &host.cell("None").text();
    assert!(all.contains("[late output of c3]"), "{all}");
}

#[test]
fn an_answer_holds_as_much_text_as_the_setting_says() {
    for (most, printed) in [("8192", 8192), ("8192", 8193), ("1048576", 2_000_000)] {
        let mut host = with(&[("HUSK_OUTPUT_MAX_TEXT_BYTES", most)]);
        let answer = host.cell(&format!("print('b' + 'ä' * {} + 'e', end='')", (printed - 2) / 2));
        let whole = 2 + (printed - 2) / 2 * 2;
        assert_eq!(answer.structured()["output"]["text_bytes"], whole);
        let text = answer.blocks("text")[0]["text"].as_str().unwrap().to_owned();
        let most: usize = most.parse().unwrap();
        let Some((head, rest)) = text.split_once("\n[… ") else {
            assert_eq!((text.len(), whole <= most), (whole, true));
            continue;
        };
        let (count, tail) = rest.split_once(" bytes of output left out …]\n").unwrap();
        assert_eq!(head.len() + tail.len() + count.parse::<usize>().unwrap(), whole);
        assert!(head.len() + tail.len() <= most && head.starts_with('b') && tail.ends_with('e'));
    }
}

#[test]
fn the_whole_output_is_readable_in_ranges_that_lose_no_character() {
    let mut host = Host::start(&[]);
    let answer = host.cell("print('x' + 'ä€😀' * 300_000)");
    let whole = format!("x{}\n", "ä€😀".repeat(300_000));
    let total = whole.len();
    let mut read = String::new();
    while read.len() < total {
        let part = text_of(&mut host, &answer, &format!("output?from={}", read.len()));
        let part = part.split("\n[… bytes ").next().unwrap();
        // Where the next part begins is up to the reader here: behind what it has.
        read.push_str(part);
    }
    assert!(read == whole);
    for (from, to, expected) in [(0, 1, "x"), (0, 2, "xä"), (1, 6, "ä€"), (2, 3, ""), (3, 6, "€")]
    {
        let part = text_of(&mut host, &answer, &format!("output?from={from}&to={to}"));
        assert_eq!(part, expected, "{from}..{to}");
    }
    // As the server names them.
    let (mut read, mut next) = (String::new(), "output".to_owned());
    loop {
        let text = text_of(&mut host, &answer, &next);
        let Some((part, rest)) = text.split_once("\n[… bytes ") else {
            read.push_str(&text);
            break;
        };
        read.push_str(part);
        let from = rest.split_once("?from=").unwrap().1.trim_end_matches(" …]\n").to_owned();
        next = format!("output?from={from}");
    }
    assert!(read == whole, "{} of {total} bytes", read.len());
}

#[test]
fn a_read_that_is_cut_and_output_that_is_gone_are_told() {
    let mut host = with(&[("HUSK_OUTPUT_MAX_KEPT_BYTES", "1048576")]);
    let old = host.cell("print('old')");
    let answer = host.cell("for n in range(300_000): print(f'{n:09}')");
    assert!(answer.text().contains(" bytes of output are not kept any more"), "{}", answer.text());
    let newest = text_of(&mut host, &answer, "output?from=2999990&to=3000000");
    assert_eq!(newest, "000299999\n"[0..10].to_owned());
    for gone in [&old, &answer] {
        let text = text_of(&mut host, gone, "output");
        assert!(text.starts_with("[… the first ") && text.contains(" are not kept"), "{text}");
    }
    let mut host = Host::start(&[]);
    let answer = host.cell("for n in range(20): print('x' * 999_999)");
    let text = text_of(&mut host, &answer, "output?from=0&to=20000000");
    assert!(text.contains("bytes 0 to 16777216 of 20000000"), "{}", text.len());
}

#[test]
fn the_server_stays_small_however_much_is_printed() {
    let mut host = Host::start(&[]);
    let answer = host.cell("for n in range(60_000): print('x' * 999)");
    assert_eq!(answer.structured()["output"]["text_bytes"], 60_000_000);
    let endless = "while True: print('y' * 99_999, flush=True)";
    let mut running = host.tool("notebook_run_cell", json!({ "code": endless, "wait": 0 }));
    while running.structured()["output"]["text_bytes"].as_u64().unwrap_or(0) < 30_000_000 {
        running = host.tool("notebook_wait_cell", json!({ "cell": "c2", "wait": 0.05 }));
    }
    let stopped = host.tool("notebook_interrupt", json!({}));
    assert_eq!(stopped.structured()["cell"], "c2", "{stopped:?}");
    assert_eq!(stopped.structured()["state_lost"], false, "{stopped:?}");
    assert_eq!(host.ok("n"), "59999");
    let peak = peak_mb(&host);
    assert!(peak < 28, "{peak} MB");
}

#[test]
fn large_messages_and_contents_break_nothing() {
    let mut host = host();
    host.ok("from comm import create_comm; comm = create_comm(target_name='x')");
    let buffers = host.ok("comm.send({'b': 2}, buffers=[b'x' * 20_000_000]); print('sent')");
    assert_eq!(buffers, "sent\n");
    let answer = host.cell("display({'application/json': [0] * 1_000_000}, raw=True)");
    assert_eq!(answer.status(), "ok");
    let peak = peak_mb(&host);
    assert!(peak < 220, "{peak} MB");
    let answer = host.cell("display({'text/plain': 'x' * 100_000_000}, raw=True)");
    assert_eq!(answer.structured()["output"]["text_bytes"], 100_000_000);
    assert_eq!(host.ok("1"), "1");
    // The message and what is read of it, and no third time.
    let peak = peak_mb(&host);
    assert!(peak < 264, "{peak} MB");
}

#[test]
fn hostile_displays_are_bounded() {
    let mut host = host();
    let mut check = |code: &str| {
        let answer = host.cell(code);
        assert_eq!(answer.status(), "ok", "{code}: {answer:?}");
        let bytes = answer.0.to_string().len();
        assert!(bytes < 50_000, "{code}: {bytes}");
    };
    check(
        "display('x', display_id='i' * 1_000_000); update_display('y', display_id='i' * 1_000_000)",
    );
    check("display({'x/' + str(n): 'x' for n in range(10_000)}, raw=True)");
    check("display({'x/' + 'y' * 1_000_000: 'x'}, raw=True)");
    check(
        "for n in range(6000): display({'text/plain': 'x'}, raw=True, metadata={'m': 'x' * 1000})",
    );
    check("for n in range(6000): print(n); print(n, file=sys.stderr)");
    check("display({'image/png': 'A' * 30_000_000}, raw=True)");
    check("display({'image/png': 'iVBORw0KGgo' + 'A' * 29_999_989}, raw=True)");
    check("display({'image/png': 'iVBORw0KGgo' + 'A' * 2_999_989}, raw=True)");
    check("for n in range(3000): update_display(n, display_id='nobody')");
}
