package spotlight

// Scores are the logarithms of the scores of a window's active parts.
var Scores = scores
