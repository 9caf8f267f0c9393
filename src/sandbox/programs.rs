//! Where the programs of a kernel lie, so that they can be opened to it.
//!
//! What a cell may have written (a kernelspec, a virtual environment, a link) names paths as well.
//! Of those only a Python's own folders are opened: a name alone is no reason to open anything.

use std::path::{Path, PathBuf};

use super::{
    plan::own_python,
    python::{
        Interpreter,
        reach::{Reach, steps},
    },
};
use crate::{jail::Ground, kernel::spec::Spec};

/// The folders of an interpreter, and of a kernelspec that adds to it.
pub(super) fn of_python(
    interpreter: &Interpreter,
    spec: Option<&Spec>,
    ground: &Ground,
    reach: &Reach,
) -> Vec<PathBuf> {
    let Interpreter { executable, prefix, base_prefix, .. } = interpreter;
    let mut found = Vec::new();
    if interpreter.believed {
        found.extend([prefix.clone(), base_prefix.clone()]);
        found.extend(roots(executable, ground));
    } else {
        found.extend([prefix, base_prefix].into_iter().flat_map(|path| python_home(path, reach)));
        found.extend(doubted(executable, ground, reach));
    }
    found.extend(spec.map(|spec| spec.folder.clone()).filter(|folder| !reach.holds(folder)));
    tidy(found)
}

/// The folders of a kernel that is started by its own command line.
pub(super) fn of_spec(spec: &Spec, ground: &Ground, reach: &Reach) -> Vec<PathBuf> {
    let first = own_python(spec).or_else(|| spec.argv.first().and_then(|word| program(word)));
    let words = spec.argv.iter().skip(1).map(PathBuf::from).filter(|word| word.is_absolute());
    let files = first.into_iter().chain(words).filter(|path| path.exists());
    if reach.holds(&spec.folder) {
        return tidy(files.flat_map(|file| doubted(&file, ground, reach)).collect());
    }
    let mut found = vec![spec.folder.clone()];
    for file in files {
        if reach.holds(&file) {
            found.extend(doubted(&file, ground, reach));
        } else {
            found.extend(roots(&file, ground));
        }
    }
    tidy(found)
}

/// The folders of a Python that cells may have written, as far as it is to be asked what it is.
pub(super) fn to_ask(python: &Path, ground: &Ground, reach: &Reach) -> Vec<PathBuf> {
    tidy(doubted(python, ground, reach))
}

/// The file that runs when this word is a command.
fn program(word: &str) -> Option<PathBuf> {
    if word.contains('/') {
        return Some(word.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(word)).find(|file| file.is_file())
}

/// The folders that a program is installed in: its own, those of what it is a link to, and that of
/// the Python which its virtual environment was made from.
fn roots(program: &Path, ground: &Ground) -> Vec<PathBuf> {
    steps(program).iter().flat_map(|file| roots_of(file, ground)).collect()
}

fn roots_of(file: &Path, ground: &Ground) -> Vec<PathBuf> {
    let root = root_of(file, ground);
    let home = root.as_deref().and_then(made_from);
    let home = home.and_then(|home| root_of(&home.join("python"), ground));
    root.into_iter().chain(home).collect()
}

/// The same for a program that cells may have chosen: those folders that hold a Python, and links to
/// one as single files.
fn doubted(program: &Path, ground: &Ground, reach: &Reach) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for file in steps(program) {
        let before = found.len();
        found.extend(roots_of(&file, ground).iter().flat_map(|root| python_home(root, reach)));
        if found.len() == before && reach.root(&file).is_none() && is_python(&file) {
            found.push(file);
        }
    }
    found
}

/// A folder that cells named, if a Python is installed in it, and what cells may write of it. Under its
/// real name: a link of theirs may lead elsewhere by the time it is followed.
fn python_home(folder: &Path, reach: &Reach) -> Vec<PathBuf> {
    let mut found = Vec::from_iter(reach.root(folder).cloned());
    let Ok(real) = folder.canonicalize() else { return found };
    if reach.root(&real).is_none() && holds_python(&real) {
        if found.is_empty() {
            found.push(folder.to_owned());
        }
        found.push(real);
    }
    found
}

fn holds_python(folder: &Path) -> bool {
    let library = |name: &str| std::fs::read_dir(folder.join(name)).into_iter().flatten().flatten();
    let standard = |entry: std::fs::DirEntry| {
        entry.file_name().to_string_lossy().starts_with("python")
            && entry.path().join("os.py").is_file()
    };
    folder.join("pyvenv.cfg").is_file()
        || ["lib", "lib64"].iter().any(|it| library(it).any(standard))
}

/// Whether this is a program named as a Python is.
fn is_python(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let runs = file.metadata().is_ok_and(|at| at.is_file() && at.permissions().mode() & 0o111 != 0);
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    runs && (name.starts_with("python") || name.starts_with("pypy"))
}

/// `PREFIX` for `PREFIX/bin/program`, where that may be opened; else the program's own folder.
fn root_of(file: &Path, ground: &Ground) -> Option<PathBuf> {
    let folder = file.parent()?;
    let of_programs = ["bin", "sbin", ".bin"].iter().any(|name| folder.ends_with(name));
    let prefix = folder.parent().filter(|prefix| of_programs && ground.allows(prefix));
    Some(prefix.unwrap_or(folder).to_owned())
}

/// The `home` of a virtual environment.
fn made_from(prefix: &Path) -> Option<PathBuf> {
    let told = std::fs::read_to_string(prefix.join("pyvenv.cfg")).ok()?;
    let line = told.lines().find_map(|line| line.strip_prefix("home"))?;
    Some(line.trim_start().strip_prefix('=')?.trim().into())
}

/// Each once, also by its real name, and only what is there.
fn tidy(found: Vec<PathBuf>) -> Vec<PathBuf> {
    let real = found.iter().filter_map(|path| path.canonicalize().ok()).collect::<Vec<_>>();
    let mut all: Vec<PathBuf> =
        found.into_iter().chain(real).filter(|path| path.exists()).collect();
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// A folder with the Pythons that people have, and what is not to be opened.
    struct Home(tempfile::TempDir);

    impl Home {
        fn new() -> Self {
            let home = Self(tempfile::tempdir().unwrap());
            for folder in ["venv/bin", "pythons/3.12.1/bin", "bin", "work/.venv/bin", ".ssh"] {
                std::fs::create_dir_all(home.at(folder)).unwrap();
            }
            std::fs::create_dir_all(home.at("pythons/3.12.1/lib/python3.12")).unwrap();
            home.write("pythons/3.12.1/lib/python3.12/os.py", "");
            home.write("pythons/3.12.1/bin/python3", "");
            home.write(".ssh/key", "");
            symlink("3.12.1", home.at("pythons/3.12")).unwrap();
            home
        }

        fn at(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.at(name), text).unwrap();
            std::fs::set_permissions(self.at(name), PermissionsExt::from_mode(0o755)).unwrap();
        }

        fn ground(&self) -> Ground {
            Ground {
                workspace: self.at("work"),
                run: "/r".into(),
                programs: Vec::new(),
                home: Some(self.0.path().into()),
                state: "/s".into(),
                memory: 0,
                settings: None,
                record: None,
            }
        }

        /// What is opened for a Python that cells may have written.
        fn doubted(&self, python: &str) -> Vec<PathBuf> {
            let reach = Reach { folders: vec![self.at("work")], ..Reach::default() };
            to_ask(&self.at(python), &self.ground(), &reach)
        }
    }

    #[test]
    fn a_program_is_found_with_all_that_it_leads_to() {
        let home = Home::new();
        symlink("../../pythons/3.12/bin/python3", home.at("venv/bin/python")).unwrap();
        let of = format!("home = {}\nversion = 3", home.at("pythons/3.12.1/bin").display());
        home.write("venv/pyvenv.cfg", &of);
        symlink("../venv/bin/python", home.at("bin/python")).unwrap();
        let found = tidy(roots(&home.at("bin/python"), &home.ground()));
        // The folder itself, not the home that it lies in.
        let expected = ["bin", "pythons/3.12", "pythons/3.12.1", "venv"].map(|name| home.at(name));
        assert_eq!(found, expected);
    }

    #[test]
    fn of_what_cells_name_only_pythons_are_opened() {
        let home = Home::new();
        symlink(home.at("pythons/3.12/bin/python3"), home.at("bin/python3.12")).unwrap();
        symlink(home.at("bin/python3.12"), home.at("work/.venv/bin/python")).unwrap();
        let of = format!("home = {}\n", home.at("pythons/3.12/bin").display());
        home.write("work/.venv/pyvenv.cfg", &of);
        // An honest environment works: its own folder, the link on the way, the Python behind it.
        let expected = [
            "bin/python3.12",
            "pythons/3.12",
            "pythons/3.12.1",
            "pythons/3.12.1/bin/python3",
            "work",
        ];
        assert_eq!(home.doubted("work/.venv/bin/python"), expected.map(|name| home.at(name)));
        // One that leads to the user's keys, by each of the ways that there are, opens none of them.
        for (link, target) in [(".venv/bin/key", ".ssh/key"), ("folder", ".ssh")] {
            symlink(home.at(target), home.at("work").join(link)).unwrap();
        }
        home.write("work/.venv/pyvenv.cfg", &format!("home = {}\n", home.at(".ssh").display()));
        for python in ["work/.venv/bin/key", "work/folder/key", ".ssh/key"] {
            let opened = home.doubted(python);
            assert!(opened.iter().all(|path| *path == home.at("work")), "{python}: {opened:?}");
        }
    }

    #[test]
    fn an_interpreter_that_is_not_believed_opens_nothing_by_its_word() {
        let home = Home::new();
        home.write("work/.venv/bin/python", "");
        let reach = Reach { folders: vec![home.at("work")], ..Reach::default() };
        let mut told = Interpreter {
            executable: home.at("work/.venv/bin/python"),
            version: "3.12.1".into(),
            ipykernel: "7.0".into(),
            prefix: home.at(".ssh"),
            base_prefix: home.at("pythons/3.12.1"),
            origin: super::super::python::Origin::ProjectEnvironment,
            believed: false,
        };
        let found = of_python(&told, None, &home.ground(), &reach);
        assert_eq!(found, ["pythons/3.12.1", "work"].map(|name| home.at(name)));
        told.believed = true;
        assert!(of_python(&told, None, &home.ground(), &reach).contains(&home.at(".ssh")));
    }

    #[test]
    fn a_kernelspec_of_cells_opens_no_path_that_it_names() {
        let home = Home::new();
        let reach = Reach { folders: vec![home.at("work")], ..Reach::default() };
        let mut spec = Spec {
            name: "k".into(),
            folder: home.at("work/kernels/k"),
            display_name: String::new(),
            language: String::new(),
            argv: vec!["sh".into(), home.at(".ssh/key").display().to_string()],
            environment: Default::default(),
            interrupts_by_message: false,
        };
        std::fs::create_dir_all(&spec.folder).unwrap();
        let opened = |spec: &Spec| of_spec(spec, &home.ground(), &reach);
        assert!(opened(&spec).iter().all(|path| !path.starts_with(home.at(".ssh"))));
        spec.folder = home.at("pythons");
        assert!(opened(&spec).contains(&home.at(".ssh")), "one that the user has installed may");
    }
}
