//! Reads the command line, runs it, explains a failure to a person, returns the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    svar::cli::main()
}
