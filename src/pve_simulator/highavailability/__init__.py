"""What the cluster's high availability managers do: keep guests running, move them, recover those of dead nodes.

`rules` says where a guest may be, `manager` takes the rounds, `requests` is what API calls ask of it. What they know
stands in the estate's sections `ha/...`: resources and rules as configured, services, nodes and commands as managed.
"""
