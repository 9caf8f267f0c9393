//! `husk agent ask` from end to end, judged by what others wrote: llmock plays a model that calls
//! tools, husk's own server runs the cells in a real kernel, and `nbformat` reads the notebook.

use serde_json::{Value, json};
use tokio::process::Command;

use super::{
    command::{husk, ran},
    python,
};
use crate::servers::Server;

const PLOT: &str =
    "%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 4, 9])\nplt.show()";

/// What the model does: cells that depend on one another, one that fails, and words.
fn scenario() -> Value {
    let cell = |code: &str| json!({"name": "notebook_run_cell", "arguments": {"code": code}});
    let calls = |calls: Vec<Value>| json!({"type": "reply", "tool_calls": calls});
    json!({"behaviors": [
        calls(vec![cell("x = 20"), cell("print(x)\nx + 1")]),
        calls(vec![cell("1 / 0")]),
        calls(vec![cell(PLOT), json!({"name": "sandbox_status", "arguments": {}})]),
        {"type": "reply", "text": "It is **21**."},
    ]})
}

/// What `nbformat` says of a notebook: the first line is `valid`, then one line a cell.
async fn read(notebook: &std::path::Path) -> Vec<String> {
    let program = "import nbformat, sys\n\
        notebook = nbformat.read(sys.argv[1], 4)\n\
        nbformat.validate(notebook)\n\
        print('valid')\n\
        for cell in notebook.cells:\n    \
            kinds = [output.output_type for output in cell.get('outputs', [])]\n    \
            print(cell.cell_type, cell.get('execution_count'), *kinds)";
    let output = Command::new(python()).args(["-c", program]).arg(notebook).output().await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn cells_of_a_scripted_model_run_in_a_real_kernel_and_their_notebook_is_valid() {
    let server = Server::llmock().await;
    for (provider, path) in [("anthropic", "/anthropic"), ("openai", "/v1")] {
        server.control("POST", "/_llmock/reset", &json!({})).await;
        server.control("POST", "/_llmock/scenario", &scenario()).await;
        let folder = tempfile::tempdir().unwrap();
        // Cells may not see what husk keeps.
        let work = folder.path().join("work");
        std::fs::create_dir(&work).unwrap();
        let url = format!("{}{path}", server.url);
        let mut command = husk(folder.path());
        command.current_dir(&work);
        command.args(["ask", "compute", "--provider", provider, "--model", "mock", "--url", &url]);
        command.args(["--output", "stream-json", "--export", "out.ipynb"]);
        command.args(["--transcript", "t.jsonl", "--workspace", ".", "--python"]).arg(python());
        let ran = ran(&mut command).await;
        assert_eq!(ran.code, Some(0), "{provider}: {}\n{}", ran.stderr, ran.stdout);
        let events: Vec<Value> =
            ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let results: Vec<&Value> =
            events.iter().filter(|event| event["type"] == "tool_result").collect();
        assert_eq!(results.len(), 5, "{provider}: {}", ran.stdout);
        assert_eq!(results[1]["text"], "20\n21", "{provider}");
        assert_eq!(results[2]["is_error"], true);
        let images =
            results.iter().filter(|result| result["images"][0]["media_type"] == "image/png");
        assert_eq!(images.count(), 1);
        assert_eq!(events.last().unwrap()["text"], "It is **21**.");
        let cells = read(&work.join("out.ipynb")).await;
        let expected = [
            "valid",
            "markdown None",
            "code 1",
            "code 2 stream execute_result",
            "code 3 error",
            "code 4 display_data",
            "markdown None",
        ];
        assert_eq!(cells, expected, "{provider}");
        let verdict = server.control("GET", "/_llmock/verdict", &Value::Null).await;
        assert_eq!(verdict["passed"], json!(true), "{provider}: {verdict}");
    }
}

#[tokio::test]
async fn a_real_model_answers_on_both_wires() {
    let server = Server::small_model().await;
    for (provider, path) in [("openai", "/v1"), ("anthropic", "")] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("none.json"), "{\"mcpServers\": {}}").unwrap();
        let url = format!("{}{path}", server.url);
        let mut command = husk(folder.path());
        command.args(["ask", "What is the capital of France?", "--output", "stream-json"]);
        command.args(["--provider", provider, "--model", "smollm2", "--url", &url]);
        // It can read 2,048 tokens, and the tools alone are more.
        command.args(["--mcp-config", "none.json", "--system", "You are helpful."]);
        let ran = ran(command.args(["--answer-tokens", "12", "--temperature", "0"])).await;
        assert_eq!(ran.code, Some(0), "{provider}: {}", ran.stderr);
        let events: Vec<Value> =
            ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let came = events.iter().filter(|event| event["type"] == "text_delta");
        let came: String = came.map(|event| event["text"].as_str().unwrap()).collect();
        let end = events.last().unwrap();
        assert!(!came.trim().is_empty() && end["text"] == came.as_str(), "{}", ran.stdout);
        assert_eq!(end["total"]["output_tokens"], 12, "{provider}: {end}");
        assert_eq!(end["why"], "max_tokens");
    }
}

#[tokio::test]
async fn litellm_stands_between_on_both_wires() {
    let model = |name: &str, says: &str| {
        let params =
            json!({"model": format!("openai/{name}"), "api_key": "none", "mock_response": says});
        json!({"model_name": name, "litellm_params": params})
    };
    let limited = model("limited", "litellm.RateLimitError");
    let server = Server::litellm(&json!([model("well", "Hello from the proxy."), limited])).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("none.json"), "{\"mcpServers\": {}}").unwrap();
    for (provider, path) in [("openai", "/v1"), ("anthropic", "")] {
        // One that is limited, and another after it.
        let target = |model: &str| json!({"override_params": {"model": model}});
        let routes = json!({
            "strategy": {"mode": "fallback", "on_status_codes": [429]}, "retry": {"attempts": 0},
            // It is a large program, and the machine may be busy: its silence is no fault here.
            "request_timeout": 120_000,
            "provider": provider, "custom_host": format!("{}{path}", server.url),
            "targets": [target("limited"), target("well")],
        });
        std::fs::write(folder.path().join("routes.json"), routes.to_string()).unwrap();
        let mut command = husk(folder.path());
        command.args(["ask", "hello", "--routes", "routes.json", "--mcp-config", "none.json"]);
        let ran = ran(command.args(["--output", "stream-json"])).await;
        assert_eq!(ran.code, Some(0), "{provider}: {}\n{}", ran.stderr, ran.stdout);
        let events: Vec<Value> =
            ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(events.last().unwrap()["text"], "Hello from the proxy.", "{provider}");
        let fell = |event: &&Value| event["now"] == "fallback" && event["reason"] == "rate_limited";
        assert_eq!(events.iter().filter(fell).count(), 1, "{provider}: {}", ran.stdout);
    }
}
