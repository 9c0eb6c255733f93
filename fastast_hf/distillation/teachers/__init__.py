"""Teachers of another family than AST, for cross-model knowledge distillation: CNNs, PaSST and EfficientAT."""
