// Is it true? In Korean. Terms are those of the Korean literature, the English word at first use.

export default {
  "Is it true?": "이 맵은 참인가?",
  "A map looks like an explanation. Test it: hide from this point the places (keys) that its map ranks first, then as many random ones, and see what changes its patch of the image more.":
    "어텐션 맵은 설명처럼 보입니다. 시험해 봅시다. 맵이 가장 중요하다고 한 위치(키, key)를 이 점에서 가리고, 같은 수의 무작위 위치도 가려서, 어느 쪽이 이미지의 해당 패치(patch)를 더 많이 바꾸는지 봅니다.",
  "Test this map": "이 맵 시험하기",
  "Would the test praise any map?": "아무 맵이나 통과하는 시험은 아닐까?",
  "The same with random weights": "무작위 가중치로 똑같이",
  "The same with another point's query": "다른 점의 쿼리(query)로 똑같이",
  "What this test says and does not say": "이 시험이 말하는 것과 말하지 않는 것",
  "It says whether this layer used, for this one point of this one image, the places that its map shows. “No better than chance” does not mean that the map was drawn wrongly; it means that it should not be read as a reason for this patch. The test does not say why a place matters, and not that it is the only cause: the layers before and after mix places too, and other points may bring a place's influence here. One point is an example; a claim about the model needs many points and images.":
    "이 시험은 이 층이 이 이미지의 이 점에서, 맵이 보여 주는 위치를 실제로 썼는지를 말해 줍니다. “우연보다 낫지 않음”은 맵이 잘못 그려졌다는 뜻이 아니라, 맵을 이 패치의 이유로 읽어서는 안 된다는 뜻입니다. 어떤 위치가 왜 중요한지, 그 위치가 유일한 원인인지는 말해 주지 않습니다. 앞뒤의 층도 위치를 섞고, 다른 점이 그 위치의 영향을 이곳으로 가져올 수도 있기 때문입니다. 점 하나는 예시일 뿐이며, 모델에 대한 주장에는 많은 점과 이미지가 필요합니다.",

  "Pin a point first: its map is what is tested.": "먼저 점을 하나 고정하세요. 그 점의 맵을 시험합니다.",
  "Testing …": "시험하는 중 …",
  "Tested in {seconds} seconds.": "{seconds}초 만에 시험했습니다.",
  "This map cannot be tested: {reason}": "이 맵은 시험할 수 없습니다: {reason}",
  "These results are about something else: {whose}. Test again for what is shown now.":
    "아래 결과는 지금 보이는 것의 결과가 아닙니다: {whose}. 지금 보이는 것은 다시 시험하세요.",
  "Pin {number}, {colour}, row {row}, column {col}, in {layer}": "핀 {number}, {colour}, {row}행 {col}열, {layer}",

  "The map names what matters": "맵이 중요한 곳을 짚었다",
  "No better than chance here": "여기서는 우연보다 낫지 않다",
  "This layer hardly matters at all": "이 층은 거의 아무 영향이 없다",
  "Hiding the places that the map ranks first changes the patch {ratio} times as much as hiding random places (random draws: 1 ± {spread}; {good} of {draws} did as well).":
    "맵이 앞순위로 꼽은 위치를 가리면, 무작위 위치를 가릴 때보다 패치가 {ratio}배 바뀝니다(무작위 추첨: 1 ± {spread}, {draws}번 중 {good}번이 맵만큼 바꿈).",
  "Hiding the places that the map ranks first changes the score {ratio} times as much as hiding random places (random draws: 1 ± {spread}; {good} of {draws} did as well).":
    "맵이 앞순위로 꼽은 위치를 가리면, 무작위 위치를 가릴 때보다 점수가 {ratio}배 바뀝니다(무작위 추첨: 1 ± {spread}, {draws}번 중 {good}번이 맵만큼 바꿈).",
  "Hiding the nearest places: {nearest} times.": "가장 가까운 위치를 가리면 {nearest}배입니다.",
  "Hiding places from this point changes nothing. {layer}.": "이 점에서 위치를 가려도 아무것도 바뀌지 않습니다. {layer}.",
  "{layer}; less than {least} counts as nothing.": "{layer}. {least} 미만은 없는 것으로 봅니다.",
  "Without the layer this patch changes by {amount} of 255 grey levels": "이 층을 빼면 이 패치는 255단계 밝기 중 {amount}만큼 바뀝니다",
  "Without the layer the discriminator's score changes by {amount}": "이 층을 빼면 판별자(discriminator)의 점수는 {amount}만큼 바뀝니다",

  "This map": "이 맵",
  "With random weights": "무작위 가중치",
  "With another point's query": "다른 점의 쿼리",
  "As the network is. The tests beside it show what the same figures are worth.": "신경망 그대로입니다. 나란히 있는 시험은 같은 수치가 얼마나 의미 있는지 보여 줍니다.",
  "The same point in a network that has learnt nothing: its weights are shuffled. A test that praises this map praises any.":
    "아무것도 배우지 않은 신경망의 같은 점입니다. 가중치를 뒤섞었습니다. 이 맵까지 좋다고 하는 시험은 아무 맵이나 좋다고 하는 것입니다.",
  "The map of row {row}, column {col}, tested as if it were this point's. It should do worse if maps depend on the point.":
    "{row}행 {col}열의 맵을 이 점의 맵인 것처럼 시험했습니다. 맵이 점에 따라 다르다면 더 나빠야 합니다.",

  "Attention": "어텐션",
  "Attention × value": "어텐션 × 값(value)",
  "Gradient": "그래디언트(gradient)",
  "Knock-out": "제거(knock-out)",
  "How much the point looks at each place.": "이 점이 각 위치를 얼마나 보는지.",
  "The same, times how much there is to take from the place.": "거기에, 그 위치에서 가져올 것이 얼마나 있는지를 곱한 것.",
  "How strongly the patch depends on what each place gives, faded in little by little.": "각 위치가 주는 것을 조금씩 늘릴 때 패치가 얼마나 따라 바뀌는지.",
  "How much the patch changes when just this place is hidden.": "그 위치 하나만 가릴 때 패치가 얼마나 바뀌는지.",
  "Nothing had any effect.": "아무것도 영향을 주지 않았습니다.",
  "Four maps of one point": "한 점의 네 가지 맵",
  "{map}: arrow keys light a place up": "{map}: 화살표 키로 위치를 밝힙니다",
  "Each map shares out the same total. At 1× a place gets an even share; all maps here have one scale. Point at a place: it lights up in all maps.":
    "모든 맵은 같은 총량을 나눕니다. 1×는 고르게 나눈 몫이며, 여기 있는 맵은 모두 한 눈금을 씁니다. 위치를 가리키면 모든 맵에서 밝아집니다.",
  "Row {row}, column {col}: {values}.": "{row}행 {col}열: {values}.",

  "Do the maps rank the places alike?": "맵들이 위치의 순위를 비슷하게 매기는가?",
  "1 is the same order, 0 no relation, −1 the reverse (Spearman's rank correlation).":
    "1은 같은 순서, 0은 관계 없음, −1은 반대 순서입니다(스피어만 순위 상관, Spearman's rank correlation).",
  "–: a map that is the same everywhere puts places in no order.": "–: 어디나 같은 맵은 순위를 매기지 않습니다.",

  "Hiding places: how much the patch changes": "위치를 가리면 패치가 얼마나 바뀌는가",
  "Hiding places: how much the discriminator's score changes": "위치를 가리면 판별자의 점수가 얼마나 바뀌는가",
  "the map's first places": "맵의 앞순위 위치",
  "nearest places": "가장 가까운 위치",
  "random places": "무작위 위치",
  "Places hidden, of {keys}": "가린 위치의 수({keys}개 중)",
  "Change (of 255 grey levels)": "변화(255단계 밝기)",
  "Change of the score": "점수의 변화",
  "With {size} of {keys} places hidden the patch changes by {top} grey levels if the map chooses them, by {random} if chance does.":
    "{keys}개 위치 중 {size}개를 가리면, 맵이 고를 때 패치가 밝기 {top}만큼, 무작위로 고를 때 {random}만큼 바뀝니다.",
  "With {size} of {keys} places hidden the score changes by {top} if the map chooses them, by {random} if chance does.":
    "{keys}개 위치 중 {size}개를 가리면, 맵이 고를 때 점수가 {top}만큼, 무작위로 고를 때 {random}만큼 바뀝니다.",
  "The curves could not be drawn: {reason}.": "곡선을 그리지 못했습니다: {reason}.",
  "There are many places, so knock-out hid blocks of {side}×{side} of them first, and single places where those mattered most.":
    "위치가 많아서, 제거 시험은 먼저 {side}×{side} 묶음을 가리고, 가장 중요한 곳에서만 하나씩 가렸습니다.",
  "The whole network had to run for every test: {reason}.": "시험마다 신경망 전체를 실행해야 했습니다: {reason}."
};
