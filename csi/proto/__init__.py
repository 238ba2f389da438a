"""The wire between kubelet and driver: `.proto` files, and what `make proto` makes of them."""
