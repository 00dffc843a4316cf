//! What is said of Windows in `deploy/windows/` agrees with itself and with the program.

use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|e| panic!("{path}: {e}"))
}

#[test]
fn the_script_and_the_rule_name_the_service_and_its_place_as_the_program_does() {
    let (script, rule) = (
        read("deploy/windows/install.ps1"),
        read("deploy/windows/leakhound.sigma.yml"),
    );
    let (service, open) = (read("src/service.rs"), read("src/open.rs"));
    assert!(service.contains("pub const NAME: &str = \"Leakhound\";"));
    assert!(script.contains("Get-Service -Name 'Leakhound'"));
    // Where the program looks for its configuration when nobody says.
    assert!(open.contains(r"C:\ProgramData\Leakhound\leakhound.toml"));
    assert!(
        script.contains("Join-Path $env:ProgramData 'Leakhound'")
            && script.contains("'leakhound.toml'")
    );
    assert!(rule.contains(r"Image: 'C:\Program Files\Leakhound\leakhound.exe'"));
    assert!(
        script.contains("Join-Path $env:ProgramFiles 'Leakhound'")
            && script.contains("'leakhound.exe'")
    );

    // Every command that the script gives is one that the service has.
    let asked: Vec<&str> = script
        .split("Invoke-Leakhound service ")
        .skip(1)
        .filter_map(|rest| rest.split(|c: char| !c.is_ascii_alphabetic()).next())
        .collect();
    assert_eq!(asked, ["stop", "uninstall", "install", "start"]);
    for command in asked {
        let variant = format!(
            "Command::{}{}",
            command[..1].to_ascii_uppercase(),
            &command[1..]
        );
        assert!(service.contains(&variant), "{command}");
    }
}
