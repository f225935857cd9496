"""Python steps of the OCR pipeline; numpy alone, so that a small device carries no OpenCV."""
