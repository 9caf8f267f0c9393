# Settings of the gateway. It looks at this file every few seconds: another list of hosts holds from the next kernel on.
import sys
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager

here = Path(__file__).parent
sys.path.insert(0, str(here))

# The hosts, each in turn. By address: by that it looks for them in `known_hosts`.
c.EnterpriseGatewayApp.remote_hosts = ["192.0.2.11", "192.0.2.12"]
c.EnterpriseGatewayApp.load_balancing_algorithm = "round-robin"
c.EnterpriseGatewayApp.dynamic_config_interval = 5

# Where husk finds it: on this machine, so that the token crosses no network.
c.EnterpriseGatewayApp.ip = "127.0.0.1"
c.EnterpriseGatewayApp.port = 8888
c.EnterpriseGatewayApp.port_retries = 0
c.EnterpriseGatewayApp.auth_token = Path("~/gateway-token").expanduser().read_text().strip()

# The ports that kernels listen at, on the hosts. Many, and none that the system gives to connections: a kernel's
# launcher lets go of its ports before the kernel takes them, and may itself take one meanwhile. A kernel that
# finds one taken never answers, which shows only when husk gives up its start.
c.EnterpriseGatewayApp.port_range = "10000..30000"

# Killed and started anew, it has its kernels still.
c.EnterpriseGatewayApp.availability_mode = "standalone"
# Kernels that nobody is connected to end after an hour.
c.MappingKernelManager.cull_idle_timeout = 3600
c.MappingKernelManager.cull_interval = 60


# Only the kernels of this folder. Else there is always one more, `python3`, which runs on this machine, as the
# user who has the key.
class OnlyTheseKernels(KernelSpecManager):
    def _kernel_dirs_default(self):
        return [str(here / "kernels")]


c.EnterpriseGatewayApp.kernel_spec_manager_class = OnlyTheseKernels
