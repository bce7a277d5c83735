"""Where requests go: a Gateway and its models as a proxy-free routing table (the IR), and what is wrong with them."""
