//! `leakhound service`: the agent as a Windows service.

mod event_log;

use crate::exit::{Exit, Failure, OrExit};
use crate::open::DEFAULT_CONFIG;
use crate::{run, telemetry};
use anyhow::Context;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use windows_service::service::{
    ServiceAccess, ServiceAction, ServiceActionType, ServiceControl, ServiceControlAccept,
    ServiceErrorControl, ServiceExitCode, ServiceFailureActions, ServiceFailureResetPeriod,
    ServiceInfo, ServiceStartType, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{
    self, ServiceControlHandlerResult, ServiceStatusHandle,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};
use windows_service::{define_windows_service, service_dispatcher};

/// Name under which the service is known to the system and to its event log.
pub const NAME: &str = "Leakhound";
const ABOUT: &str = "Watches .NET services, captures a compressed dump when memory goes wrong, and names the cause.";
/// The service is started again this long after it failed, each time.
const RESTART_AFTER: [Duration; 3] = [
    Duration::from_secs(5),
    Duration::from_secs(60),
    Duration::from_secs(600),
];
/// Failures are forgotten after a day without one.
const FORGET_AFTER: Duration = Duration::from_secs(86_400);
/// Captures get a moment to finish, deliveries another.
const STOP_WITHIN: Duration = Duration::from_secs(60);
/// What `service start` and `service stop` wait for at most.
const PATIENCE: Duration = Duration::from_secs(90);

/// The agent as a Windows service: runs as LocalSystem from the start of the machine, is started again when it fails, and
/// writes to the event log.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples (elevated):
  leakhound service install --config C:\\ProgramData\\Leakhound\\leakhound.toml
  leakhound service start
  leakhound service stop
  leakhound service uninstall")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Register the service; it starts with the machine from then on
    Install {
        /// The agent's configuration.
        #[arg(long, short, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
    /// Start the service now
    Start,
    /// Stop the service; a running capture gets a moment to finish, then its target is let go
    Stop,
    /// Remove the service; the archive and the configuration stay
    Uninstall,
    /// What the system runs; a person runs `leakhound run`
    Run {
        /// The agent's configuration.
        #[arg(long, short, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
}

impl Args {
    /// The system runs it: there is no terminal to write to.
    pub fn is_service(&self) -> bool {
        matches!(self.command, Command::Run { .. })
    }
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    match &args.command {
        Command::Install { config } => install(config)?,
        Command::Start => start()?,
        Command::Stop => stop()?,
        Command::Uninstall => uninstall()?,
        Command::Run { config } => return dispatch(config),
    }
    Ok(Exit::Ok)
}

fn manager(access: ServiceManagerAccess) -> Result<ServiceManager, Failure> {
    ServiceManager::local_computer(None::<&str>, access)
        .map_err(told)
        .context("the service manager refuses; run this elevated")
        .or_input()
}

fn service(access: ServiceAccess) -> Result<windows_service::service::Service, Failure> {
    manager(ServiceManagerAccess::CONNECT)?
        .open_service(NAME, access)
        .map_err(told)
        .with_context(|| {
            format!("the service {NAME} cannot be opened; is it installed, and is this elevated?")
        })
        .or_input()
}

/// The crate's own text does not say what the system said.
fn told(error: windows_service::Error) -> anyhow::Error {
    match error {
        windows_service::Error::Winapi(error) => error.into(),
        other => other.into(),
    }
}

fn install(config: &Path) -> Result<(), Failure> {
    let config = std::path::absolute(config).or_usage()?;
    // A configuration that is wrong would only be found in the event log.
    run::check(&config)?;
    let info = ServiceInfo {
        name: NAME.into(),
        display_name: NAME.into(),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        executable_path: std::env::current_exe().or_input()?,
        launch_arguments: ["service", "run", "--config"]
            .map(OsString::from)
            .into_iter()
            .chain([config.into_os_string()])
            .collect(),
        dependencies: Vec::new(),
        account_name: None,
        account_password: None,
    };
    let access = ServiceAccess::CHANGE_CONFIG | ServiceAccess::START;
    let service = manager(ServiceManagerAccess::CREATE_SERVICE)?
        .create_service(&info, access)
        .map_err(told)
        .with_context(|| format!("the service {NAME} cannot be registered"))
        .or_input()?;
    let restart = |delay| ServiceAction {
        action_type: ServiceActionType::Restart,
        delay,
    };
    let settled = service
        .set_description(ABOUT)
        .and_then(|()| {
            service.update_failure_actions(ServiceFailureActions {
                reset_period: ServiceFailureResetPeriod::After(FORGET_AFTER),
                reboot_msg: None,
                command: None,
                actions: Some(RESTART_AFTER.map(restart).to_vec()),
            })
        })
        // An agent that ends by itself with an error has failed as well.
        .and_then(|()| service.set_failure_actions_on_non_crash_failures(true))
        .map_err(told)
        .context("the service is registered, but not to be started again when it fails");
    if let Err(warning) = settled {
        eprintln!("warning: {warning:#}");
    }
    if let Err(warning) = event_log::register() {
        eprintln!("warning: the event log shows entries without their format: {warning}");
    }
    println!("{NAME} is installed; `leakhound service start` starts it");
    Ok(())
}

fn start() -> Result<(), Failure> {
    let service = service(ServiceAccess::START | ServiceAccess::QUERY_STATUS)?;
    match service.start::<OsString>(&[]) {
        // What is wanted is there: it starts with the machine, too.
        Err(error) if is_running(&error) => {}
        started => started
            .map_err(told)
            .context("it does not start")
            .or_input()?,
    }
    wait_for(&service, ServiceState::Running)
}

/// ERROR_SERVICE_ALREADY_RUNNING (winerror.h).
fn is_running(error: &windows_service::Error) -> bool {
    matches!(error, windows_service::Error::Winapi(error) if error.raw_os_error() == Some(1056))
}

fn stop() -> Result<(), Failure> {
    let service = service(ServiceAccess::STOP | ServiceAccess::QUERY_STATUS)?;
    service
        .stop()
        .map_err(told)
        .context("it does not stop")
        .or_input()?;
    wait_for(&service, ServiceState::Stopped)
}

fn wait_for(
    service: &windows_service::service::Service,
    wanted: ServiceState,
) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = service.query_status().map_err(told).or_input()?;
        if status.current_state == wanted {
            println!("{NAME}: {wanted:?}");
            return Ok(());
        }
        if status.current_state == ServiceState::Stopped || Instant::now() > deadline {
            return Err(Failure::input(anyhow::anyhow!(
                "{NAME} is {:?} and not {wanted:?}; the event log (Application, source {NAME}) says why",
                status.current_state
            )));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn uninstall() -> Result<(), Failure> {
    let service = service(ServiceAccess::DELETE)?;
    service
        .delete()
        .map_err(told)
        .context("it cannot be removed")
        .or_input()?;
    event_log::forget();
    println!("{NAME} is removed; archive and configuration stay");
    Ok(())
}

/// The system calls `main_of_service` without a way to hand anything over.
static CONFIG: OnceLock<PathBuf> = OnceLock::new();

define_windows_service!(entry, main_of_service);

fn dispatch(config: &Path) -> Result<Exit, Failure> {
    let _ = CONFIG.set(config.to_owned());
    service_dispatcher::start(NAME, entry)
        .map_err(told)
        .context("only the service manager runs this; use `leakhound run` in a terminal")
        .or_usage()?;
    Ok(Exit::Ok)
}

fn main_of_service(_: Vec<OsString>) {
    let stopping = CancellationToken::new();
    let asked = stopping.clone();
    let registered = service_control_handler::register(NAME, move |control| match control {
        ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
        ServiceControl::Stop | ServiceControl::Shutdown => {
            asked.cancel();
            ServiceControlHandlerResult::NoError
        }
        _ => ServiceControlHandlerResult::NotImplemented,
    });
    let status = match registered {
        Ok(status) => status,
        Err(error) => {
            return event_log::report_error(&format!("The service cannot be run: {error}"));
        }
    };
    tell(status, ServiceState::StartPending, 0);
    let config = CONFIG
        .get()
        .cloned()
        .unwrap_or_else(|| DEFAULT_CONFIG.into());
    let stop = async move {
        stopping.cancelled().await;
        tell(status, ServiceState::StopPending, 0);
    };
    let ended = run::agent(config.as_path().into(), stop, || {
        tell(status, ServiceState::Running, 0)
    });
    let code = match ended {
        Ok(_) => 0,
        Err(failure) => {
            event_log::report_error(&failure.to_string());
            1
        }
    };
    tell(status, ServiceState::Stopped, code);
}

/// Tells the service manager how it stands. A manager that does not listen is no reason to end.
fn tell(status: ServiceStatusHandle, state: ServiceState, code: u32) {
    let accepted = if state == ServiceState::Running {
        ServiceControlAccept::STOP | ServiceControlAccept::SHUTDOWN
    } else {
        ServiceControlAccept::empty()
    };
    let is_pending = matches!(
        state,
        ServiceState::StartPending | ServiceState::StopPending
    );
    let _ = status.set_service_status(ServiceStatus {
        service_type: ServiceType::OWN_PROCESS,
        current_state: state,
        controls_accepted: accepted,
        exit_code: if code == 0 {
            ServiceExitCode::Win32(0)
        } else {
            ServiceExitCode::ServiceSpecific(code)
        },
        checkpoint: 0,
        wait_hint: if is_pending {
            STOP_WITHIN
        } else {
            Duration::ZERO
        },
        process_id: None,
    });
}

/// Starts logging to the event log.
pub fn log(filter: Option<&str>) -> anyhow::Result<()> {
    telemetry::start_into(filter, event_log::Writer)
}
