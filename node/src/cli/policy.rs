//! `glimpse policy`: what the rules are, whether a file of them can be used, and why a rule allows
//! or refuses. It reads the files as a node would, and asks no node.

use std::{fmt::Write as _, path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{
    ConfigFile, OutputFormat, USAGE,
    output::{Output, fail, print, print_json},
};
use crate::{
    auth::Context,
    policy::{Rules, Sources, Target, explain::Explained},
};

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// List every rule with its text and where that comes from
    List {
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        output: OutputFormat,
    },
    /// Say what is wrong with a policy; exit code 2 if it cannot be used, 1 if part of it has no effect
    Check {
        /// A policy file to look at in place of the configured files
        file: Option<PathBuf>,
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        output: OutputFormat,
    },
    /// Show whether a rule allows it, with the checks that decide; exit code 1 if it does not
    Explain {
        /// Its name, such as `modify_image`
        rule: String,
        #[command(flatten)]
        asked: Box<Asked>,
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        output: OutputFormat,
    },
}

/// Who asks about what.
#[derive(Debug, Args)]
pub(super) struct Asked {
    /// Roles of the caller
    #[arg(long, value_delimiter = ',', value_name = "ROLE,...")]
    roles: Vec<String>,
    /// Roles of the caller's service token
    #[arg(long, value_delimiter = ',', value_name = "ROLE,...")]
    service_roles: Vec<String>,
    /// Project of the caller
    #[arg(long)]
    project: Option<String>,
    /// The caller
    #[arg(long)]
    user: Option<String>,
    /// The token is scoped to the system or a domain
    #[arg(long)]
    system: bool,
    /// Owner of the image [default: the caller's project]
    #[arg(long, value_name = "PROJECT")]
    image_owner: Option<String>,
    /// Of the image: public, community, shared or private
    #[arg(long, default_value = "private")]
    visibility: String,
    /// A project that the image is shared with
    #[arg(long, value_name = "PROJECT")]
    member: Option<String>,
}

/// What `list -o json` writes for each rule.
#[derive(Serialize)]
struct Listed<'a> {
    name: &'a str,
    rule: &'a str,
    from: &'a str,
}

/// What `check -o json` writes.
#[derive(Serialize)]
struct Report {
    ok: bool,
    problems: Vec<String>,
    warnings: Vec<String>,
}

/// What `explain -o json` writes.
#[derive(Serialize)]
struct Explanation<'a> {
    rule: &'a str,
    allowed: bool,
    from: &'a str,
    checks: Explained,
}

pub(super) fn run(command: &PolicyCommand) -> ExitCode {
    match command {
        PolicyCommand::List { config, output } => match rules(config, None) {
            Ok(rules) => list(&rules, output.output),
            Err(cause) => fail(USAGE, &cause),
        },
        PolicyCommand::Check {
            file,
            config,
            output,
        } => check(rules(config, file.as_ref()), output.output),
        PolicyCommand::Explain {
            rule,
            asked,
            config,
            output,
        } => match rules(config, None) {
            Ok(rules) => explain(&rules, rule, asked, output.output),
            Err(cause) => fail(USAGE, &cause),
        },
    }
}

/// The configured rules, or those of one file over the defaults.
fn rules(config: &ConfigFile, file: Option<&PathBuf>) -> Result<Rules, String> {
    let config = config.load().map_err(|error| error.to_string())?;
    let mut sources = Sources::of(&config.auth);
    if let Some(file) = file {
        sources = Sources {
            file: Some(file.clone()),
            dirs: Vec::new(),
            protection: None,
            ..sources
        };
    }
    Rules::load(&sources).map_err(|error| match file {
        Some(_) => error.to_string(),
        None => format!("{}: {error}", error.key()),
    })
}

fn list(rules: &Rules, output: Output) -> ExitCode {
    let rows: Vec<Listed<'_>> = rules
        .iter()
        .map(|rule| Listed {
            name: &rule.name,
            rule: &rule.text,
            from: &rule.place,
        })
        .collect();
    if output == Output::Json {
        return print_json(&rows, 0);
    }
    let mut text = String::new();
    for Listed { name, rule, from } in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name}: {rule:?}\n    # {from}");
    }
    print(text.as_bytes(), 0)
}

fn check(rules: Result<Rules, String>, output: Output) -> ExitCode {
    let (problems, warnings) = match rules {
        Ok(rules) => (Vec::new(), rules.warnings().to_vec()),
        Err(cause) => (cause.lines().map(str::to_owned).collect(), Vec::new()),
    };
    let code = match (problems.is_empty(), warnings.is_empty()) {
        (false, _) => USAGE,
        (true, false) => 1,
        (true, true) => 0,
    };
    let report = Report {
        ok: code == 0,
        problems,
        warnings,
    };
    if output == Output::Json {
        return print_json(&report, code);
    }
    let mut text = String::new();
    for (kind, lines) in [("error  ", &report.problems), ("warning", &report.warnings)] {
        for line in lines {
            let _ = writeln!(text, "{kind}  {line}");
        }
    }
    if report.ok {
        text.push_str("ok\n");
    }
    print(text.as_bytes(), code)
}

fn explain(rules: &Rules, name: &str, asked: &Asked, output: Output) -> ExitCode {
    let lower = |roles: &[String]| roles.iter().map(|role| role.to_lowercase()).collect();
    let mut context = Context {
        user_id: asked.user.clone(),
        project_id: asked.project.clone(),
        roles: lower(&asked.roles),
        service_roles: lower(&asked.service_roles),
        foreign_scope: asked.system,
        ..Context::default()
    };
    let own = Target {
        owner: asked.project.as_deref(),
        ..Target::default()
    };
    let is_admin = rules.allows("context_is_admin", &context, &own, None);
    context.is_admin = is_admin;
    let target = Target {
        owner: asked.image_owner.as_deref().or(asked.project.as_deref()),
        visibility: Some(&asked.visibility),
        member_id: asked.member.as_deref(),
        ..Target::default()
    };
    let (Some(checks), Some(rule)) = (rules.explain(name, &context, &target), rules.named(name))
    else {
        let known = rules.iter().map(|rule| &*rule.name);
        let meant = crate::config::nearest(known, name)
            .map(|name| format!("; did you mean {name:?}?"))
            .unwrap_or_default();
        return fail(USAGE, &format!("there is no rule {name:?}{meant}"));
    };
    let allowed = checks.holds == Some(true);
    let code = if allowed { 0 } else { 1 };
    if output == Output::Json {
        let explanation = Explanation {
            rule: name,
            allowed,
            from: &rule.place,
            checks,
        };
        return print_json(&explanation, code);
    }
    let verdict = match checks.holds {
        Some(true) => "allowed",
        Some(false) => "refused",
        None => "a server decides, which is not asked",
    };
    let text = format!("{verdict}, by {}\n{checks}", rule.place);
    print(text.as_bytes(), code)
}
