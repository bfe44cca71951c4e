//! One guest for every question: it does what the body of the request says and tells what it saw.
//! README.md beside this crate is the language.

mod machine;
mod read;
mod tell;
mod world;

wit_bindgen::generate!({
    path: "../../../stacks/samples/wit/extension-runner.wit",
    world: "runner",
    generate_all,
});

use alga::extension::types::HttpHeader;
use serde_json::{Value, json};

struct Script;

impl Guest for Script {
    fn handler(request: ExecuteRequest) -> ExecuteResponse {
        let (script, wrong) = match &request.http.body {
            None => (Value::Null, Value::Null),
            Some(body) => match serde_json::from_slice(body) {
                Ok(script @ Value::Object(_)) => (script, Value::Null),
                Ok(_) => (Value::Null, json!("not an object")),
                Err(error) => (Value::Null, json!(error.to_string())),
            },
        };
        let mut told = json!({
            "context": tell::context(&request.context),
            "request": tell::request(&request.http, script.is_object()),
            "results": results(&script),
            "script": wrong,
        });
        if let Err(mistake) = machine::then(&script["then"]) {
            told["script"] = json!(mistake);
        }
        respond(&script["respond"], &told).unwrap_or_else(|mistake| {
            told["script"] = json!(mistake);
            plain(&told)
        })
    }
}

fn results(script: &Value) -> Vec<Value> {
    for (channel, descriptor) in [("stdout", 1), ("stderr", 2)] {
        for line in script[channel].as_array().into_iter().flatten() {
            if let Ok(text) = read::text(line) {
                machine::write(descriptor, &text);
            }
        }
    }
    let calls = script["calls"].as_array();
    calls.into_iter().flatten().map(result).collect()
}

fn result(call: &Value) -> Value {
    let name = call["fn"].as_str().unwrap_or("");
    let none = Vec::new();
    let args = read::Args(call["args"].as_array().unwrap_or(&none));
    let done = match name {
        "times" => return repeated(&args),
        _ => world::call(name, &args).or_else(|| machine::call(name, &args)),
    };
    match done {
        None => json!({"bad": format!("there is no function {name}")}),
        Some(Err(mistake)) => json!({"bad": mistake}),
        Some(Ok(Ok(value))) => json!({"ok": value}),
        Some(Ok(Err(error))) => json!({"err": error}),
    }
}

fn repeated(args: &read::Args) -> Value {
    let mut last = json!({"ok": null});
    for _ in 0..args.0.first().and_then(Value::as_u64).unwrap_or(0) {
        last = result(args.at(1));
    }
    last
}

fn plain(told: &Value) -> ExecuteResponse {
    let json = HttpHeader { name: "content-type".into(), value: "application/json".into() };
    ExecuteResponse { status: 200, headers: vec![json], body: Some(told.to_string().into_bytes()) }
}

fn respond(wanted: &Value, told: &Value) -> Result<ExecuteResponse, String> {
    if wanted.is_null() {
        return Ok(plain(told));
    }
    let body = if !wanted["body"].is_null() {
        Some(read::text(&wanted["body"])?.into_bytes())
    } else if !wanted["body_b64"].is_null() {
        Some(read::bytes(&wanted["body_b64"])?)
    } else if let Some(size) = wanted["body_size"].as_u64() {
        Some(vec![b'x'; size as usize])
    } else if wanted["results"] == true {
        Some(told.to_string().into_bytes())
    } else {
        None
    };
    let status = wanted["status"].as_u64().unwrap_or(200);
    Ok(ExecuteResponse {
        status: status.try_into().map_err(|_| "status is no u16".to_string())?,
        headers: read::headers(&wanted["headers"])?,
        body,
    })
}

export!(Script);
