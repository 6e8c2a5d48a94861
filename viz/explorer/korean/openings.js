// Korean for the openings.

export default {
  "Openings": "첫 이미지",
  "A random seed and class": "시드(seed)와 클래스를 무작위로 고릅니다",
  "Opening {number}": "첫 이미지 {number}",
  "Nobody picked this image: its seed and class are random.": "아무도 고르지 않은 이미지입니다. 시드와 클래스가 무작위입니다.",
  "Picked by hand, because they show something. Random shows what is usual.": "볼거리가 있어 사람이 고른 이미지입니다. 보통은 어떤지는 무작위로 보십시오."
};
