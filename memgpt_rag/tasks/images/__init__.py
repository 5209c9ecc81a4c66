"""Pictures are found by words, words by pictures, and pictures by pictures: entries of a memory whose keys are of pictures."""
