"""Training of Still Life on Hugging Face Accelerate: `accelerate launch -m diffusion_tutorial.training`."""
