"""`tanzhang`: the operator's tool. It talks to services through their contracts alone."""
