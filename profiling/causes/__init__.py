"""Seven causes of high memory, each as a connector that has it and one that has not: see README.md."""
