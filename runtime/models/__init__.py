"""The networks, as torch modules; nothing in the runtime imports this package until a .safetensors file is opened."""
