//! The 25 functions that a host lends, by name.

use serde_json::{Value, json};

use crate::alga::extension::{
    clients, context, http, invoicing, logging, scheduler, secrets, services, storage, ui_proxy,
    user, user_v2,
};
use crate::read::{self, Args};
use crate::tell;

/// A mistake of the script, or what the host said: a value or the name of an error.
pub type Done = Result<Result<Value, String>, String>;

/// None if the world has no such function.
pub fn call(name: &str, args: &Args) -> Option<Done> {
    let (interface, function) = name.split_once('.')?;
    let done = match interface {
        "context" | "secrets" | "logging" | "user" | "user-v2" => own(name, args),
        "http" | "ui-proxy" => outward(name, args),
        "storage" => stored(function, args),
        "scheduler" => scheduled(function, args),
        "invoicing" | "clients" | "services" => business(name, args),
        _ => Ok(None),
    };
    done.transpose()
}

type Found = Result<Option<Result<Value, String>>, String>;

fn ok(value: Value) -> Found {
    Ok(Some(Ok(value)))
}

fn told<T, E: std::fmt::Debug>(done: Result<T, E>, tell: impl Fn(&T) -> Value) -> Found {
    Ok(Some(done.map(|value| tell(&value)).map_err(|error| kebab(&format!("{error:?}")))))
}

/// `SchedulerError { code: 3, name: "denied", message: "" }` is how bindings print an enum.
fn kebab(printed: &str) -> String {
    let name = printed.split_once("name: \"").and_then(|(_, rest)| rest.split_once('"'));
    name.map_or(printed, |(name, _)| name).into()
}

fn list<T>(tell: impl Fn(&T) -> Value) -> impl Fn(&Vec<T>) -> Value {
    move |items| items.iter().map(&tell).collect()
}

fn maybe<T>(tell: impl Fn(&T) -> Value) -> impl Fn(&Option<T>) -> Value {
    move |item| item.as_ref().map_or(Value::Null, &tell)
}

fn own(name: &str, args: &Args) -> Found {
    match name {
        "context.get-context" => ok(tell::context(&context::get_context())),
        "secrets.get" => told(secrets::get(&args.text(0)?), |secret| json!(secret)),
        "secrets.list-keys" => ok(json!(secrets::list_keys())),
        "logging.log-info" => ok(json!(logging::log_info(&args.text(0)?))),
        "logging.log-warn" => ok(json!(logging::log_warn(&args.text(0)?))),
        "logging.log-error" => ok(json!(logging::log_error(&args.text(0)?))),
        "user.get-user" => told(user::get_user(), tell::user),
        "user-v2.get-user" => told(user_v2::get_user(), tell::user_v2),
        _ => Ok(None),
    }
}

fn outward(name: &str, args: &Args) -> Found {
    match name {
        "http.fetch" => told(http::fetch(&read::request(args.at(0))?), tell::response),
        "ui-proxy.call-route" => {
            let payload = read::option(args.at(1), read::bytes)?;
            let done = ui_proxy::call_route(&args.text(0)?, payload.as_deref());
            told(done, |body| tell::bytes(body))
        }
        _ => Ok(None),
    }
}

fn stored(function: &str, args: &Args) -> Found {
    match function {
        "get" => told(storage::get(&args.text(0)?, &args.text(1)?), tell::entry),
        "put" => told(storage::put(&read::entry(args.at(0))?), tell::entry),
        "delete" => told(storage::delete(&args.text(0)?, &args.text(1)?), |()| Value::Null),
        "list-entries" => {
            let cursor = read::option(args.at(1), read::text)?;
            told(storage::list_entries(&args.text(0)?, cursor.as_deref()), list(tell::entry))
        }
        _ => Ok(None),
    }
}

fn scheduled(function: &str, args: &Args) -> Found {
    match function {
        "list-schedules" => told(scheduler::list_schedules(), list(tell::schedule)),
        "get-schedule" => told(scheduler::get_schedule(&args.text(0)?), maybe(tell::schedule)),
        "create-schedule" => {
            ok(tell::created(&scheduler::create_schedule(&read::schedule(args.at(0))?)))
        }
        "update-schedule" => {
            let change = read::schedule_change(args.at(1))?;
            ok(tell::updated(&scheduler::update_schedule(&args.text(0)?, &change)))
        }
        "delete-schedule" => ok(tell::deleted(&scheduler::delete_schedule(&args.text(0)?))),
        "get-endpoints" => told(scheduler::get_endpoints(), list(tell::endpoint)),
        _ => Ok(None),
    }
}

fn business(name: &str, args: &Args) -> Found {
    match name {
        "invoicing.create-manual-invoice" => {
            ok(tell::invoice(&invoicing::create_manual_invoice(&read::invoice(args.at(0))?)))
        }
        "clients.list-clients" => {
            told(clients::list_clients(&read::clients(args.at(0))?), tell::clients)
        }
        "clients.get-client" => told(clients::get_client(&args.text(0)?), maybe(tell::client)),
        "services.list-services" => {
            told(services::list_services(&read::services(args.at(0))?), tell::services)
        }
        "services.get-service" => told(services::get_service(&args.text(0)?), maybe(tell::service)),
        _ => Ok(None),
    }
}
