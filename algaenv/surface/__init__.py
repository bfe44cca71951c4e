"""What is seen: by people at a terminal, by programs over JSON. Only here is anything printed."""
