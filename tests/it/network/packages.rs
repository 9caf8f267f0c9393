//! `%pip install` in a sandbox: into an environment of the kernel's own, over the one that it only
//! reads, from an index that the settings open.

use std::{path::Path, process::Command};

use serde_json::json;

use super::{Served, hint};
use crate::{
    attacks::As,
    support::{host::Host, python},
};

/// Wheels of a package of ours, and of one that the environment has in another version.
const BUILD: &str = "
import pathlib, sys, zipfile
for name, version in (('husk-test-wheel', '1.0'), ('tqdm', '999.0')):
    module = name.replace('-', '_')
    folder = pathlib.Path(sys.argv[1], 'simple', name)
    folder.mkdir(parents=True)
    about = f'{module}-{version}.dist-info'
    with zipfile.ZipFile(folder / f'{module}-{version}-py3-none-any.whl', 'w') as wheel:
        files = {
            f'{module}/__init__.py': f'__version__ = {version!r}\\ndef main(): print(\"ran\", __version__)',
            f'{about}/METADATA': f'Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n',
            f'{about}/WHEEL': 'Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n',
            f'{about}/entry_points.txt': f'[console_scripts]\\n{name}-runs = {module}:main\\n',
        }
        for path, text in files.items():
            wheel.writestr(path, text)
        record = ''.join(f'{path},,\\n' for path in [*files, f'{about}/RECORD'])
        wheel.writestr(f'{about}/RECORD', record)
";

fn index() -> (tempfile::TempDir, Served) {
    let folder = tempfile::tempdir().unwrap();
    let built = Command::new(python()).args(["-c", BUILD]).arg(folder.path()).status().unwrap();
    assert!(built.success());
    let served = Served::files(folder.path());
    (folder, served)
}

fn host(user: As, home: &Path, port: u16, network: &str) -> Host {
    let (hosts, index) =
        (format!("127.0.0.1:{port}"), format!("http://name:word@127.0.0.1:{port}/simple"));
    user.host(
        home,
        &[
            ("HUSK_SANDBOX_ISOLATION", "namespaces"),
            ("HUSK_SANDBOX_NETWORK", network),
            ("HUSK_SANDBOX_NETWORK_HOSTS", &hosts),
            ("HUSK_OUTPUT_MAX_TEXT_BYTES", "65536"),
            ("PIP_INDEX_URL", &index),
            ("PIP_FIND_LINKS", ""),
        ],
    )
}

#[test]
fn what_is_installed_is_there_at_once_for_the_kernel_alone_and_goes_with_it() {
    let (_folder, index) = index();
    for user in As::all() {
        let home = user.folder();
        let mut host = host(*user, home.path(), index.port, "allowlist");
        let text = host.ok("%pip install husk-test-wheel");
        assert!(text.contains("Successfully installed husk-test-wheel-1.0"), "{user:?}: {text}");
        // The index, without what nobody but the server shall know.
        assert!(text.contains(&format!("http://127.0.0.1:{}/simple", index.port)), "{text}");
        assert!(!text.contains("name:"), "{text}");
        assert!(!host.ok("import os; print(os.environ)").contains("word@"));
        for (code, expected) in [
            ("import husk_test_wheel; print(husk_test_wheel.__version__)", "1.0"),
            ("!python -c 'import husk_test_wheel, pandas; print(husk_test_wheel.__version__)'", "1.0"),
            ("!husk-test-wheel-runs", "ran 1.0"),
            (
                "import subprocess, sys
print(subprocess.check_output([sys.executable, '-m', 'pip', 'show', 'husk-test-wheel'], text=True))",
                "Version: 1.0",
            ),
            // Over one that the environment has, which stays as it is.
            ("%pip install tqdm==999.0", "Successfully installed tqdm-999.0"),
            ("import tqdm; print(tqdm.__version__)", "999.0"),
            ("%pip uninstall -y tqdm husk-test-wheel", "Successfully uninstalled tqdm-999.0"),
            ("!python -c 'import tqdm; print(tqdm.__version__)'", "4."),
            ("!pip install husk-test-wheel", "Successfully installed husk-test-wheel-1.0"),
        ] {
            let text = host.ok(code);
            assert!(text.contains(expected), "{user:?}: {code}: {text}");
        }
        // A fresh kernel has none of it.
        host.tool("notebook_interrupt", json!({ "restart": true }));
        let answer = host.cell("import husk_test_wheel");
        assert_eq!(answer.structured()["error"]["name"], "ModuleNotFoundError", "{answer:?}");
    }
}

#[test]
fn without_the_index_an_installation_is_refused_with_the_reason() {
    let (_folder, index) = index();
    let user = *As::all().last().unwrap();
    let home = user.folder();
    let mut host = host(user, home.path(), index.port, "none");
    let answer = host.cell("%pip install husk-test-wheel");
    // It goes without the proxy, as to any port of the sandbox's own.
    assert!(answer.text().contains("No matching distribution found"), "{answer:?}");
    let answer = host.cell("%pip install --index-url https://index.test/simple husk-test-wheel");
    let expected = "blocked: index.test:443; allow with sandbox.network = \"allowlist\" and \
                    sandbox.network_hosts = [\"index.test\"]";
    assert!(hint(&answer).contains(expected), "{answer:?}");
    assert!(answer.text().contains("No matching distribution found"), "{answer:?}");
}
