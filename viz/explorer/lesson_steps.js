// The lesson's text, as data: steps and quiz. It is JSON, which the handout reads too. {names} in it
// are numbers of the layer that is shown. `right` counts choices from 0; a step without it is open.

export default {
  "steps": [
    {
      "name": "reach",
      "title": "What convolution cannot see",
      "minutes": 5,
      "intro": "The generator builds the image with convolutions: each reads a small window of cells and slides it over the whole feature map. Between two of them sits one layer of self-attention ({layer}: {queries} points, {keys} keys to look at).",
      "question": "Take one pixel in the middle of the image. Which of the {queries} cells that this layer hands on can the convolutions after it bring into that pixel?",
      "choices": [
        "All of them: a convolution slides over the whole feature map.",
        "Only those in a patch around the pixel, however long one trains.",
        "Those that training found useful, near or far."
      ],
      "right": 1,
      "acts": [
        { "name": "far", "text": "Pin a point near one edge of the image and one near the opposite edge. Does either map reach across?" }
      ],
      "reveal": [
        "Windows are fixed, and grow only by stacking. After this layer a pixel can draw on {reachRows}×{reachCols} of the {rows}×{cols} cells, {reachPercent}% of them: counted from the layers of this very network.",
        "One step of attention lets a point draw on all {keys} keys, at any distance, and choose among them for every image anew.",
        "To be fair: the layers before, where the whole image is a few cells wide, have already arranged coarse things over long distances. What they cannot do is match fine detail at this resolution."
      ]
    },
    {
      "name": "pins",
      "title": "Same part, other side, background",
      "minutes": 6,
      "intro": "Move over the image, or go to it with Tab and use the arrow keys: the colours show where the point under the pointer looked. A click or Enter pins it.",
      "question": "Pin a point of the object, a point of a like part on its other side, and a point of the background. Which of the three maps will be most alike?",
      "choices": [
        "Those of the two points that lie nearest to each other.",
        "Those of the two points whose parts are alike.",
        "None: each point looks at its own surroundings."
      ],
      "right": 1,
      "acts": [
        { "name": "three", "text": "Pin these three points, and compare their maps." }
      ],
      "reveal": [
        "A map follows from the point's query alone; the keys are the same for every point. Position does not enter: points with like features have like maps, near or far. Often these are like parts, and the place itself need not be among what it looks at.",
        "Was it so in this image? If all three maps look the same, read the note below the pins: then this layer looks at much the same places from everywhere. Choose “the average point” under “Compare with” to see what is each point's own."
      ]
    },
    {
      "name": "softmax",
      "title": "One pin, step by step",
      "minutes": 8,
      "intro": "For one point: a dot product of its query with every key, and a softmax over all {keys} of them. Three of the keys, for the pin that is chosen:",
      "question": "The dot product of key A is larger than that of key B by exactly 1. How does their attention compare?",
      "choices": [
        "A gets one percentage point more.",
        "A gets twice as much.",
        "A gets e times as much, about 2.72 times.",
        "That depends on all the other keys."
      ],
      "right": 2,
      "acts": [
        { "name": "calculated", "text": "Compute the attention of key B with a calculator: e to the power of its number, divided by the sum over all keys." }
      ],
      "reveal": [
        "Softmax knows differences only: a difference of 1 is a factor of e, whatever the other keys are, and the same number added to all dot products changes nothing. That is why the table may show them less the largest.",
        "All {keys} weights of a point are positive and sum to 1. If the point looked everywhere alike, each key would get {uniform}%: the page shows multiples of that.",
        "“Step by step”, below, goes on from here: the sum of the values with these weights, the output convolution, gamma, and x."
      ]
    },
    {
      "name": "temperature",
      "title": "Temperature, and the missing 1/√d",
      "minutes": 6,
      "intro": "Before the softmax all dot products can be divided by one number, the temperature. Transformers divide by √d, where d is how many numbers a query has.",
      "question": "Divide all dot products of a point by 5. What becomes of its map?",
      "choices": [
        "It gets flatter: more places, each with less.",
        "It gets sharper: fewer places, each with more.",
        "Nothing: softmax divides by the sum in any case."
      ],
      "right": 0,
      "acts": [
        { "name": "sharp", "text": "Under “Change the layer”, set the temperature to 0.5 or less." },
        { "name": "flat", "text": "Set it to 2 or more. How many cells hold half of the attention now?" }
      ],
      "reveal": [
        "Towards temperature 0 the largest dot product takes everything; with a high one all keys get the same. The order of the keys never changes.",
        "Here a query has {channels} numbers, so 1/√d would be a temperature of {root}: set it, and see the map that a transformer's rule would draw. SAGAN leaves it out. Its queries are short, and training itself settles how large the dot products get.",
        "The image stayed as it was: the slider is a what-if on the map. A network trained with another temperature would have learnt other weights."
      ]
    },
    {
      "name": "gamma",
      "title": "Gamma starts at 0",
      "minutes": 6,
      "intro": "What attention gathers is multiplied by one learnt number, gamma, and added to what came in: y = x + gamma · o.",
      "question": "When training starts, gamma is 0. What does the layer do to the image then?",
      "choices": [
        "It blurs the image, as all places are mixed.",
        "Nothing: what comes in goes out.",
        "It copies one part of the image to others."
      ],
      "right": 1,
      "acts": [
        { "name": "zero", "text": "Under “Change the layer”, set gamma of this layer to 0, and look at the difference." },
        { "name": "training", "text": "Unfold “Over training”: from when on does gamma leave 0?" }
      ],
      "reveal": [
        "With gamma 0 the layer hands x on, bit for bit. A map can be drawn all the same, and means nothing: nobody uses it.",
        "So the network first learns what neighbours can do, and takes in distant places as far as that helps. In this checkpoint gamma came to {gamma}; its sign has no meaning of its own, as the output convolution can turn it round.",
        "At gamma 0 no gradient reaches queries, keys and values: gamma has to move first."
      ]
    },
    {
      "name": "truth",
      "title": "Is it true?",
      "minutes": 6,
      "intro": "A map looks like an explanation. Whether it is one can be tested: take away what the point looked at most, and see whether its patch of the image changes.",
      "question": "A point gives half of its attention to one region. Now it may not look there any more. Its patch of the image …",
      "choices": [
        "must change more than if it lost any other region of that size.",
        "may change much or hardly: that has to be tested.",
        "cannot change, as softmax shares the attention out among the rest."
      ],
      "right": 1,
      "acts": [
        { "name": "tested", "text": "Unfold “Is it true?” and test the pin. Or block what it looked at under “Change the layer”, and compare with random places." }
      ],
      "reveal": [
        "Attention says how much of a place's value is taken. It does not say how large that value is, nor whether later layers make use of it.",
        "That is why the test compares with chance: if random places matter as much, this map does not say what matters for this point. If gamma is near 0, no map of the layer does.",
        "One point is one example. A claim about a model needs many points and many images."
      ]
    },
    {
      "name": "claim",
      "title": "A claim, and a counter-example",
      "minutes": 4,
      "intro": "The address holds all that you see: a link shows it to others.",
      "question": "State in one sentence a claim about this model: which points look where, and does it matter?",
      "acts": [
        { "name": "link", "text": "Find an image that supports your claim and copy its link (“Copy link”)." },
        { "name": "second", "text": "Look for a counter-example: another seed, class or point. Copy its link too." }
      ],
      "reveal": [
        "An image that fits shows that something can happen, not how often. To say how often, fix the rule first and then count over random seeds.",
        "A claim is worth something when one can say what would refute it. A counter-example with a link refutes it for everybody who opens the link."
      ]
    }
  ],
  "quiz": [
    {
      "question": "The attention weights of one point sum to 1 …",
      "choices": [
        "over all keys, that is, what this point looked at.",
        "over all queries, that is, who looked at this point.",
        "over all layers."
      ],
      "right": 0,
      "reveal": "Softmax runs over the keys, once for every query. Nothing bounds a column: one key may be looked at by all points, or by none."
    },
    {
      "question": "A layer has 64 keys. On one of them a map shows 3× uniform. How much attention does it get?",
      "choices": ["3%", "4.7%", "33%"],
      "right": 1,
      "reveal": "Uniform is 1/64, about 1.6%; three times that is 4.7%. A bright spot can be a small part of the whole."
    },
    {
      "question": "Gamma is 0.001. The map is sharp and follows the point. What does that say about the image?",
      "choices": [
        "The layer works well.",
        "Hardly anything: the layer adds next to nothing.",
        "The far places on the map made the image."
      ],
      "right": 1,
      "reveal": "The map is computed before gamma. What reaches the image is gamma times what was gathered: look at the layer's share of the signal first."
    },
    {
      "question": "Without the ten most attended keys a patch changes no more than without ten random ones. So …",
      "choices": [
        "the attention map was computed wrongly.",
        "the map is right, but does not say what matters for this patch.",
        "the test has failed and should be left out."
      ],
      "right": 1,
      "reveal": "The weights are what the layer computed. That they explain the patch is another claim, and this result speaks against it: report it."
    }
  ]
};
