"""The 256 words in which two people compare a hash: one word for each byte."""

from __future__ import annotations

from typing import Final

_TEXT: Final = """
acorn actor album alley amber anchor ankle apple apron arrow atlas attic autumn badge bagel baker
balcony bamboo banjo barber barn basket beach beaver bell bench bicycle blanket board boat bottle
branch brass bread brick bridge broom brush bucket butter button cabin cactus camel camera canal
candle canoe canyon carbon carpet castle cedar cello chain chalk cherry chess circle citrus clay
cliff clock cloud clover coast cobalt coffee comet compass copper coral corner cotton crane crayon
cricket crown crystal curtain daisy dawn deer desert diamond dinner dolphin donkey door dragon
drum eagle easel echo elbow ember engine falcon farmer feather fence fern ferry fiddle field finch
flag flute forest fossil fountain fox garden garlic gate ginger glacier glass globe glove goat
grape gravel guitar hammer harbour harvest hazel hedge helmet heron hill honey horse hotel island
ivory jacket jaguar jasmine jewel jungle kayak kettle kitchen kite kiwi ladder lagoon lamp lantern
laurel lemon letter lily lime lion lizard lobster magnet mango maple marble market meadow melon
mirror mitten monkey moon mosaic moss mountain museum mushroom napkin needle nest nickel north
novel nutmeg oasis oboe ocean olive onion opal orange orchard otter oven owl oyster paddle palace
panda paper parrot peach pebble pencil pepper piano pigeon pillow pine planet plaza plum pocket
pond poppy potato prism pumpkin quartz quiver rabbit radio radish raft rain raven ribbon river
robin rocket rope ruby saddle saffron salmon satin scarf sheep shell shovel silver spider spoon
squirrel stone summit sunset table tiger tomato tower tulip turtle valley violin walnut window
zebra
"""
WORDS: Final[tuple[str, ...]] = tuple(_TEXT.split())
