# Settings of the gateway. It reads this file anew while it runs: what is changed here holds for the next kernel.
import sys
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager

here = Path(__file__).parent
sys.path.insert(0, str(here))

# The hosts, in turn. By address: that is how `known_hosts` has to name them too.
c.EnterpriseGatewayApp.remote_hosts = ["192.0.2.11", "192.0.2.12"]
c.EnterpriseGatewayApp.load_balancing_algorithm = "round-robin"
c.EnterpriseGatewayApp.dynamic_config_interval = 5

c.EnterpriseGatewayApp.ip = "127.0.0.1"
c.EnterpriseGatewayApp.port = 8888
c.EnterpriseGatewayApp.port_retries = 0
c.EnterpriseGatewayApp.auth_token = Path("~/gateway-token").expanduser().read_text().strip()

c.EnterpriseGatewayApp.port_range = "40000..42000"


class Here(KernelSpecManager):
    def _kernel_dirs_default(self):
        return [str(here / "kernels")]

c.EnterpriseGatewayApp.kernel_spec_manager_class = Here
