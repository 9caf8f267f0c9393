//! What settings are refused, and in which words.
//!
//! What is accepted, and which source wins, stands one level up.

use std::ffi::OsString;

use husk::config::{Fault, load};

use super::Case;

#[test]
fn a_file_that_cannot_be_read_is_a_fault() {
    let unreadable = "cannot read the settings:";
    let must = "; --config must name a TOML file in UTF-8 that exists";
    let may = "; expected a TOML file in UTF-8, or none";
    let gone = Case::new().config_file("gone.toml");
    gone.check_fault(&format!("gone.toml: {unreadable} No such file"), must);
    let binary = Case::new().project(b"log = '\xff'");
    binary.check_fault(&format!("husk.toml: {unreadable} invalid utf-8"), may);
    let folder = Case::new();
    std::fs::create_dir(folder.path("project/husk.toml")).unwrap();
    folder.check_fault(&format!("husk.toml: {unreadable} "), may);
}

#[test]
fn the_same_file_is_read_once() {
    let mut case = Case::new().project("nonsense = 1");
    case.sources.user = Some(case.path("project/husk.toml"));
    assert_eq!(case.faults().len(), 1);
}

/// What the only fault of a `husk.toml` is told.
fn check_file(toml: &str, expected: &str) {
    let expected = [format!("husk.toml:{expected}")];
    assert_eq!(Case::new().trusted(toml).faults(), expected, "{toml}");
}

#[test]
fn a_value_of_the_wrong_type_is_told_what_was_expected() {
    let text = "`log` must be a text in quotes, not";
    check_file("log = 3", &format!("1:7: {text} 3"));
    check_file("\u{feff}log = 3", &format!("1:7: {text} 3"));
    check_file("# é\r\n'log' = [ 'é' ]", &format!("2:9: {text} [\"é\"]"));
    check_file("[log]\na = 'b'", &format!("1:1: {text} {{ a = \"b\" }}"));
    let number = "`cells.timeout` must be a number, not";
    check_file("[cells]\n  timeout = 'soon'", &format!("2:13: {number} \"soon\""));
    check_file("cells.timeout.x = 1", &format!("1:7: {number} {{ x = 1 }}"));
    let whole = "`output.max_images` must be a whole number, 0 or more, not";
    check_file("output.max_images = -1", &format!("1:21: {whole} -1"));
    check_file("output.max_images = 1.5", &format!("1:21: {whole} 1.5"));
    let parts = "`wire.max_parts` must be a whole number from 0 to 4294967295, not";
    check_file("[wire]\nmax_parts = 5_000_000_000", &format!("2:13: {parts} 5000000000"));
    let list = "`launch.packages` must be a list of texts such as [\"a\", \"b\"], not";
    check_file("launch.packages = ['a',\n 3]", &format!("1:19: {list} [\"a\", 3]"));
    let section = "`cells` is a section; write [cells] and its keys below";
    check_file("cells = 3", &format!("1:9: {section}"));
    check_file("[[cells]]\ntimeout = 3", &format!("1:1: {section}"));
}

#[test]
fn what_lies_on_a_limit_is_accepted() {
    let accepted = [
        ("cells.timeout", "0.001 86400"),
        ("cells.interrupt_grace", "0.1 30"),
        ("launch.timeout", "1 600"),
        ("output.max_text_bytes", "1024 1048576"),
        ("output.max_images", "0 200"),
        ("output.max_image_bytes", "16384 16777216"),
        ("output.max_kept_bytes", "1048576 68719476736"),
        ("notebook.max_file_bytes", "1024 1073741824"),
        ("cells.max_queued", "0 10000"),
        ("cells.wait", "0 86400"),
        ("wire.max_frame_bytes", "1048576 9223372036854775807"),
        ("wire.max_message_bytes", "1048576"),
        ("wire.max_parts", "16 4294967295"),
    ];
    for (key, values) in accepted {
        for value in values.split(' ') {
            Case::new().flag("--it", key, value).load();
        }
    }
}

#[test]
fn what_lies_beyond_a_limit_is_refused() {
    let refused = [
        ("cells.timeout", "0 -1 86400.1 nan inf"),
        ("cells.interrupt_grace", "0.09 30.1 nan"),
        ("launch.timeout", "0.9 601 nan"),
        ("output.max_text_bytes", "1023 1048577"),
        ("output.max_images", "201"),
        ("output.max_image_bytes", "16383 16777217"),
        ("output.max_kept_bytes", "1048575"),
        ("notebook.max_file_bytes", "1023"),
        ("notebook.file", "a.txt ../a.ipynb /a.ipynb"),
        ("cells.max_queued", "10001"),
        ("cells.wait", "-1 86401 nan"),
        ("wire.max_frame_bytes", "1048575"),
        ("wire.max_message_bytes", "0"),
        ("wire.max_parts", "0"),
    ];
    for (key, values) in refused {
        for value in values.split(' ') {
            // The words are the section's; that they name the value is asked of all.
            let faults = Case::new().flag("--it", key, value).faults();
            assert_eq!(faults.len(), 1, "{faults:#?}");
            let fault = faults.concat();
            assert!(fault.starts_with(&format!("--it: `{key}` ")), "{fault}");
            assert!(fault.contains(&value.replace("nan", "NaN")), "{fault}");
        }
    }
}

#[test]
fn a_session_name_can_be_no_folder_option_or_hidden_file() {
    let longest = "a".repeat(64);
    for name in ["a", "A.b_c-9", "9", &longest] {
        Case::new().env("HUSK_SESSION", name).load();
    }
    let too_long = "a".repeat(65);
    for name in [".", "..", ".a", "-a", "a/b", "a b", "a\n", "ä", &too_long] {
        let faults = Case::new().env("HUSK_SESSION", name).faults();
        let expected = format!(
            "HUSK_SESSION: `session` must be 1 to 64 characters of A-Z a-z 0-9 . _ - and not \
             start with `.` or `-`, not {name:?}"
        );
        assert_eq!(faults, [expected]);
    }
}

#[test]
fn empty_texts_in_a_file_are_refused() {
    let empty = Case::new().project("session = ''");
    empty.check_fault("husk.toml:1:11: `session` must be 1 to 64", ", not \"\"");
    check_file("kernel = ''", "1:10: `kernel` must be the name of a kernelspec, not empty");
    check_file("python = ''", "1:10: `python` must be a path, not empty");
}

#[test]
fn a_package_can_be_no_option_and_no_half_of_a_requirement() {
    for package in ["--index-url=x", "<2", "", " a"] {
        let case = Case::new().project(format!("launch.packages = ['a', '{package}']"));
        let start = "husk.toml:1:19: `launch.packages` must name packages or paths, not ";
        case.check_fault(&format!("{start}{package:?};"), "[\"a>=1,<2\", \"b\"]");
    }
}

#[test]
fn a_home_that_is_not_known_is_not_guessed() {
    let mut case = Case::new().project("workspace = '~/w'");
    case.sources.home = None;
    let start = "husk.toml:1:13: `workspace` ";
    case.check_fault(start, "there is no home folder; set HOME or write it in full");
    let other = Case::new().project("workspace = '~bob/w'");
    let end = "must not name another user's home; only `~/` is known, not \"~bob/w\"";
    other.check_fault(start, end);
}

#[test]
fn an_unknown_key_is_told_the_nearest_known_one() {
    let check = |toml: &str, at: &str, key: &str, names: &str| {
        let expected = format!("{at}: unknown key `{key}`; did you mean {names}?");
        check_file(toml, &expected);
    };
    check("pyton = 'x'", "1:1", "pyton", "`python`");
    let after = "launch = { packages = ['aé'], tmeout = 1 }";
    check(after, "1:31", "launch.tmeout", "`launch.timeout`");
    check("data-dir = 'x'", "1:1", "data-dir", "`data_dir`");
    check("\n[cells]\n timeuot = 3", "3:2", "cells.timeuot", "`cells.timeout`");
    let both = "`cells.timeout` or `launch.timeout` or `shared.timeout` or `store.timeout`";
    check("timeout = 3", "1:1", "timeout", both);
    let images = "`output.max_images`";
    check("[wire]\nmax_images = 3", "2:1", "wire.max_images", images);
    check("[cell]\ntimeout = 3", "1:2", "cell", "`[cells]`");
    let quoted = "\"cells.timeout\"";
    check("'cells.timeout' = 3", "1:1", quoted, "`cells.timeout`");
}

#[test]
fn a_key_like_no_other_is_told_the_keys_beside_it() {
    check_file(
        "[output]\ncolour = 3",
        "2:1: unknown key `output.colour`; known here: max_image_bytes, max_images, max_kept_bytes, max_text_bytes",
    );
    check_file(
        "colour = 3",
        "1:1: unknown key `colour`; known here: connection_file, data_dir, kernel, log, python, session, \
         workspace, [audit], [breaker], [cells], [dedup], [dedup.notebook_inspect], [dedup.notebook_run_cell], \
         [gateway], [http], [http.oauth], [launch], [limits], [limits.session], [notebook], [output], [sandbox], [sessions], \
         [shared], [shared.on_failure], [store], [tenant], [wire]",
    );
}

#[test]
fn an_unknown_variable_or_flag_is_told_the_nearest_known_one() {
    let check = |name: &str, hint: &str| {
        let faults = Case::new().env(name, "x").faults();
        assert_eq!(faults, [format!("{name}: unknown variable; {hint}")]);
    };
    check("HUSK_PYTHN", "did you mean `HUSK_PYTHON`?");
    check("HUSK_CELL_TIMEOUT", "did you mean `HUSK_CELLS_TIMEOUT`?");
    check(
        "HUSK_TIMEOUT",
        "did you mean `HUSK_CELLS_TIMEOUT` or `HUSK_LAUNCH_TIMEOUT` or `HUSK_SHARED_TIMEOUT` or `HUSK_STORE_TIMEOUT`?",
    );
    check(
        "HUSK_COLOUR",
        "a variable is HUSK_ and the key in capitals, such as HUSK_CELLS_TIMEOUT for \
         `cells.timeout`",
    );
    let flag = Case::new().flag("--kernal", "kernal", "x").faults();
    assert_eq!(flag, ["--kernal: unknown key `kernal`; did you mean `kernel`?"]);
}

#[test]
fn broken_toml_is_one_fault_and_hides_no_other_source() {
    let case = Case::new()
        .user("session = '-'")
        .project("log = 'info'\npython = \nkernel = ]")
        .env("HUSK_CELLS_TIMEOUT", "x");
    let starts = [
        "ROOT/user/husk/husk.toml:1:11: `session` must be",
        "husk.toml:2:10: not valid TOML: ",
        "HUSK_CELLS_TIMEOUT: `cells.timeout` must be a number",
    ];
    let faults = case.faults();
    assert_eq!(faults.len(), starts.len(), "{faults:#?}");
    for (fault, start) in faults.iter().zip(starts) {
        assert!(fault.starts_with(start), "{fault}");
    }
    let twice = Case::new().project("log = 'a'\nlog = 'b'");
    twice.check_fault("husk.toml:2:1: not valid TOML: duplicate key", "");
}

#[test]
fn a_number_that_is_too_large_hides_no_other_fault() {
    let case = Case::new().project("[wire]\nmax_parts = 99999999999999999999\npyton = 1");
    let faults = case.faults().join("\n");
    let start = "husk.toml:2:13: `wire.max_parts` holds a number beyond 64 bits: ";
    assert!(faults.starts_with(start), "{faults}");
    assert!(faults.contains("\nhusk.toml:3:1: unknown key `wire.pyton`"), "{faults}");
}

#[test]
fn all_faults_of_all_sources_are_shown_together_in_order() {
    let case = Case::new()
        .user("log = 3")
        .project("session = 'a b'\ncolor = 1\n[cells]\ntimeout = 0\ninterrupt_grace = 'x'")
        .env("HUSK_OUTPUT_MAX_IMAGES", "many")
        .env("HUSK_KERNL", "ir")
        .flag("--timeout", "cells.timeout", "-5");
    let known = "connection_file, data_dir, kernel, log, python, session, workspace, [audit], [breaker], [cells], [dedup], \
                 [dedup.notebook_inspect], [dedup.notebook_run_cell], [gateway], [http], [http.oauth], [launch], [limits], \
                 [limits.session], [notebook], [output], [sandbox], [sessions], [shared], \
                 [shared.on_failure], [store], [tenant], [wire]";
    let expected = [
        "8 faults in the settings:",
        "  ROOT/user/husk/husk.toml:1:7: `log` must be a text in quotes, not 3",
        "  husk.toml:1:11: `session` must be 1 to 64 characters of A-Z a-z 0-9 . _ - and not start",
        &format!("  husk.toml:2:1: unknown key `color`; known here: {known}"),
        "  husk.toml:4:11: `cells.timeout` ",
        "  husk.toml:5:19: `cells.interrupt_grace` must be a number, not \"x\"",
        "  HUSK_KERNL: unknown variable; did you mean `HUSK_KERNEL`?",
        "  HUSK_OUTPUT_MAX_IMAGES: `output.max_images` must be a whole number, 0 or more, not",
        "  --timeout: `cells.timeout` ",
        "run `husk config` to see every setting in force, and where it comes from",
    ];
    let text = case.refusal();
    assert_eq!(text.lines().count(), expected.len(), "{text}");
    for (line, start) in text.lines().zip(expected) {
        assert!(line.starts_with(start), "{line}");
    }
}

#[test]
fn a_fault_is_one_line_whatever_the_value_holds() {
    let case = Case::new().env("HUSK_CELLS_TIMEOUT", "a\nb\u{1b}[2J");
    let text = case.refusal();
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(!text.contains('\u{1b}'));
    let long = "x".repeat(5000);
    assert!(Case::new().env("HUSK_CELLS_TIMEOUT", long).refusal().len() < 400);
}

#[cfg(unix)]
#[test]
fn a_value_that_is_not_utf8_is_a_fault() {
    use std::os::unix::ffi::OsStringExt;
    let value = OsString::from_vec(b"py\xff".to_vec());
    let faults = Case::new().env("HUSK_PYTHON", value.clone()).faults();
    assert_eq!(faults, [r#"HUSK_PYTHON: `python` must be UTF-8, not "py\xFF""#]);
    let mut case = Case::new();
    case.sources.project.push(value);
    let case = case.env("HUSK_WORKSPACE", "w");
    let loaded = case.load();
    assert!(loaded.config.workspace.as_ref().unwrap().ends_with("w"));
    assert!(loaded.table().contains("py\u{fffd}/w"));
}

#[test]
fn faults_can_be_told_apart_by_their_kind() {
    let faults = load(&Case::new().project("colour = 1").sources).unwrap_err();
    let kinds: Vec<_> = faults.iter().collect();
    assert!(matches!(kinds.as_slice(), [Fault::Unknown { .. }]));
}
