//! Secrets in command lines and environment values, masked before anything is written or logged.

/// What a name ends with when its value is a secret.
const SECRET_NAMES: &[&str] = &[
    "password",
    "passwd",
    "pwd",
    "secret",
    "token",
    "apikey",
    "api-key",
    "api_key",
    "accountkey",
    "sharedaccesskey",
    "accesskey",
    "access-key",
    "access_key",
    "credential",
    "credentials",
    "sig",
    "connectionstring",
    "connection-string",
    "connection_string",
    "privatekey",
    "private-key",
    "sas",
    "authorization",
    "bearer",
];
const MASK: &str = "***";

/// Arguments in one string, with the values of secret names replaced by `***`.
#[must_use]
pub fn command_line(arguments: &[String]) -> String {
    let mut out: Vec<String> = Vec::with_capacity(arguments.len());
    let mut hide_next = false;
    for argument in arguments {
        if hide_next && !argument.starts_with("--") {
            out.push(MASK.to_owned());
            hide_next = false;
            continue;
        }
        hide_next = is_bare_secret_name(argument);
        out.push(value(argument));
    }
    out.join(" ")
}

/// One value with `name=secret` pairs and the password of URLs masked.
#[must_use]
pub fn value(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Connection strings separate their pairs with `;`, query strings with `&`.
    for part in text.split_inclusive([';', '&', '?']) {
        let (body, end) = match part.char_indices().last() {
            Some((at, ';' | '&' | '?')) => part.split_at(at),
            _ => (part, ""),
        };
        match body.split_once(['=', ':']) {
            Some((name, secret)) if is_secret_name(name) && !secret.is_empty() => {
                let separator = body[name.len()..].chars().next().unwrap_or('=');
                out.extend([name, &separator.to_string(), MASK]);
            }
            _ => out.push_str(&url(body)),
        }
        out.push_str(end);
    }
    out
}

/// True when a variable of this name holds a secret.
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    let name = name
        .trim()
        .trim_matches(['-', '/', '"', '\''])
        .to_ascii_lowercase();
    SECRET_NAMES.iter().any(|s| name.ends_with(s))
}

fn is_bare_secret_name(argument: &str) -> bool {
    argument.starts_with(['-', '/']) && !argument.contains(['=', ':']) && is_secret_name(argument)
}

/// `scheme://user:password@host` without its password.
fn url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let authority = rest.split('/').next().unwrap_or(rest);
    match authority
        .rsplit_once('@')
        .and_then(|(user, _)| user.split_once(':'))
    {
        Some((user, password)) => {
            let after = &rest[user.len() + 1 + password.len()..];
            format!("{scheme}://{user}:{MASK}{after}")
        }
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(arguments: &[&str]) -> String {
        command_line(
            &arguments
                .iter()
                .map(|a| (*a).to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn secrets_are_masked_and_the_rest_stays() {
        assert_eq!(
            masked(&["dotnet", "Cart.dll", "--urls", "http://+:80"]),
            "dotnet Cart.dll --urls http://+:80"
        );
        assert_eq!(
            masked(&["x", "--password", "hunter2", "--port", "1"]),
            "x --password *** --port 1"
        );
        assert_eq!(
            masked(&["x", "--db-password=hunter2"]),
            "x --db-password=***"
        );
        assert_eq!(
            masked(&["Server=a;User Id=b;Password=hunter2;Timeout=3"]),
            "Server=a;User Id=b;Password=***;Timeout=3"
        );
        assert_eq!(
            masked(&["amqp://user:hunter2@host/q"]),
            "amqp://user:***@host/q"
        );
        assert_eq!(
            masked(&["https://s/b?sv=1&sig=abc%3d"]),
            "https://s/b?sv=1&sig=***"
        );
    }
}
