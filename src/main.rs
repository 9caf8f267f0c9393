//! The binary `husk`: an init when it was started as one, else the command line.

fn main() -> std::process::ExitCode {
    // Before anything else: an init must be small and have one thread.
    husk::jail::init::run_if_asked();
    husk::cli::main()
}
