"""Copies planted among real rows, so that it is known what a deduplication or a filter ought to find."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import soundfile
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

from data_pipelines.media import Look, Sound, encode_flac
from data_pipelines.rows import Row, open_folder, to_json
from mmcontrast.data.manifest import ColumnSpec, Manifest

COLUMNS = {
    "image": ColumnSpec(modality="image", extension="jpg"),
    "audio": ColumnSpec(modality="audio", extension="flac"),
    "text": ColumnSpec(modality="text", extension="json", field="captions"),
}
MANIFEST = Manifest(name="planted", columns=COLUMNS, shards=())


def shipped(name: str, count: int) -> list[Look]:
    """Rows of a set that ships with the package, spread over it."""
    source = open_folder(f"package:quickstart/{name}")
    looks = [Look(row, source.manifest) for number in range(len(source)) for row in source.rows(number)]
    return looks[:: max(1, len(looks) // count)][:count]


def look(
    key: str, *, image: bytes | None = None, audio: bytes | None = None, captions: list[str] | None = None
) -> Look:
    """A row of bytes as a job sees it."""
    members = {"jpg": image, "flac": audio, "json": to_json({"captions": captions or []})}
    return Look(Row(key, {name: each for name, each in members.items() if each is not None}, "planted.tar"), MANIFEST)


# ------------------------------------------------------------------ pictures


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    """A picture's file."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _cropped(image: Image.Image, share: float) -> Image.Image:
    width, height = image.size
    left, top = round(share * width), round(share * height)
    return image.crop((left, top, width - left, height - top))


def _resized(image: Image.Image, factor: float) -> Image.Image:
    return image.resize([max(1, round(factor * side)) for side in image.size], Image.Resampling.BILINEAR)


PICTURE_COPIES: dict[str, Callable[[Image.Image], bytes]] = {
    "JPEG of quality 30": lambda image: encoded(image, quality=30),
    "WebP of quality 50": lambda image: encoded(image, "WEBP", quality=50),
    "half the size": lambda image: encoded(_resized(image, 0.5), quality=90),
    "three times the size": lambda image: encoded(_resized(image, 3), quality=90),
    "a fifth brighter": lambda image: encoded(ImageEnhance.Brightness(image).enhance(1.2), quality=90),
    "3% cropped from each side": lambda image: encoded(_cropped(image, 0.03), quality=90),
    "10% cropped from each side": lambda image: encoded(_cropped(image, 0.1), quality=90),
    "mirrored": lambda image: encoded(ImageOps.mirror(image), quality=90),
}


def written_on(image: Image.Image, text: str) -> bytes:
    """The picture, three times as large, with a line of text across its lower part."""
    large = _resized(image, 4)
    draw = ImageDraw.Draw(large)
    font = ImageFont.load_default(size=26)
    left, top, right, bottom = draw.textbbox((12, large.height - 48), text, font=font)
    draw.rectangle((left - 6, top - 4, right + 6, bottom + 4), fill="white")
    draw.text((12, large.height - 48), text, fill="black", font=font)
    return encoded(large, quality=90)


# -------------------------------------------------------------------- sounds


def _through(wave: np.ndarray, rate_hz: int, kind: str, subtype: str, level: float) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, wave, rate_hz, format=kind, subtype=subtype, compression_level=level)
    return stream.getvalue()


def _later(sound: Sound, seconds: float) -> np.ndarray:
    return sound.wave[round(seconds * sound.rate_hz) :]


def _noisy(sound: Sound, snr_db: float) -> np.ndarray:
    power = float(np.mean(np.square(sound.wave)))
    noise = np.random.default_rng(len(sound.wave)).standard_normal(len(sound.wave))
    return np.asarray(sound.wave + noise * (power * 10 ** (-snr_db / 10)) ** 0.5, dtype=np.float32)


def _at(sound: Sound, rate_hz: int) -> bytes:
    from mmcontrast.data.decode import resample

    return encode_flac(resample(sound.wave, from_hz=sound.rate_hz, to_hz=rate_hz), rate_hz=rate_hz)


SOUND_COPIES: dict[str, Callable[[Sound], bytes]] = {
    "Ogg Vorbis, least quality": lambda sound: _through(sound.wave, sound.rate_hz, "OGG", "VORBIS", 1.0),
    "MP3 of 21 kbit/s": lambda sound: _through(sound.wave, sound.rate_hz, "MP3", "MPEG_LAYER_III", 0.9),
    "resampled to 8 kHz": lambda sound: _at(sound, 8000),
    "12 dB quieter": lambda sound: encode_flac(sound.wave / 4, rate_hz=sound.rate_hz),
    "noise at 20 dB": lambda sound: encode_flac(_noisy(sound, 20), rate_hz=sound.rate_hz),
    "first 0.25 s cut off": lambda sound: encode_flac(_later(sound, 0.25), rate_hz=sound.rate_hz),
    "first 0.8 s cut off": lambda sound: encode_flac(_later(sound, 0.8), rate_hz=sound.rate_hz),
    "5% faster": lambda sound: encode_flac(sound.wave, rate_hz=round(1.05 * sound.rate_hz)),
}


def mostly_silent(sound: Sound, *, loud_share: float, floor_db: float) -> bytes:
    """Ten times as long a sound whose loud part is ``loud_share`` of it, over noise at ``floor_db``."""
    loud = sound.wave / max(float(np.abs(sound.wave).max()), 1e-6) * 0.5
    total = round(2 * sound.rate_hz)
    noise = np.random.default_rng(total).standard_normal(total) * 10 ** (floor_db / 20)
    count = round(loud_share * total)
    noise[:count] += np.resize(loud, count)
    return encode_flac(noise.astype(np.float32), rate_hz=sound.rate_hz)


# ------------------------------------------------------------------ captions


def _without_a_word(text: str, rng: np.random.Generator) -> str:
    words = text.split()
    del words[int(rng.integers(len(words)))]
    return " ".join(words)


def _exchanged(text: str, rng: np.random.Generator) -> str:
    words = text.split()
    words[int(rng.integers(len(words)))] = "something"
    return " ".join(words)


CAPTION_COPIES: dict[str, Callable[[str, np.random.Generator], str]] = {
    "other case and punctuation": lambda text, _: f"{text.upper()} !",
    "one word left out": _without_a_word,
    "one word exchanged": _exchanged,
}

LANGUAGES: dict[str, tuple[str, ...]] = {
    "en": (
        "a brown dog runs along the beach",
        "two children are playing in the rain",
        "heavy traffic passes on a wet street",
        "a woman is cutting bread in the kitchen",
        "an old church stands on top of the hill",
        "the wind blows through the trees at night",
        "a red bicycle leans against a white wall",
        "a man speaks while water is running",
    ),
    "de": (
        "ein brauner Hund läuft am Strand entlang",
        "zwei Kinder spielen im Regen",
        "dichter Verkehr auf einer nassen Straße",
        "eine Frau schneidet Brot in der Küche",
        "eine alte Kirche steht auf dem Hügel",
        "der Wind weht nachts durch die Bäume",
        "ein rotes Fahrrad lehnt an einer weißen Wand",
        "ein Mann spricht, während Wasser läuft",
    ),
    "fr": (
        "un chien brun court le long de la plage",
        "deux enfants jouent sous la pluie",
        "une circulation dense passe dans une rue mouillée",
        "une femme coupe du pain dans la cuisine",
        "une vieille église se dresse sur la colline",
        "le vent souffle dans les arbres la nuit",
        "un vélo rouge est appuyé contre un mur blanc",
        "un homme parle pendant que l'eau coule",
    ),
    "es": (
        "un perro marrón corre por la playa",
        "dos niños juegan bajo la lluvia",
        "mucho tráfico pasa por una calle mojada",
        "una mujer corta pan en la cocina",
        "una iglesia antigua está en lo alto de la colina",
        "el viento sopla entre los árboles por la noche",
        "una bicicleta roja apoyada contra una pared blanca",
        "un hombre habla mientras corre el agua",
    ),
    "it": (
        "un cane marrone corre lungo la spiaggia",
        "due bambini giocano sotto la pioggia",
        "traffico intenso su una strada bagnata",
        "una donna taglia il pane in cucina",
        "una vecchia chiesa si trova in cima alla collina",
        "il vento soffia tra gli alberi di notte",
        "una bicicletta rossa appoggiata a un muro bianco",
        "un uomo parla mentre scorre l'acqua",
    ),
    "nl": (
        "een bruine hond rent langs het strand",
        "twee kinderen spelen in de regen",
        "druk verkeer rijdt over een natte straat",
        "een vrouw snijdt brood in de keuken",
        "een oude kerk staat boven op de heuvel",
        "de wind waait 's nachts door de bomen",
        "een rode fiets leunt tegen een witte muur",
        "een man spreekt terwijl er water loopt",
    ),
    "pl": (
        "brązowy pies biegnie wzdłuż plaży",
        "dwoje dzieci bawi się w deszczu",
        "duży ruch na mokrej ulicy",
        "kobieta kroi chleb w kuchni",
        "stary kościół stoi na szczycie wzgórza",
        "wiatr wieje nocą przez drzewa",
        "czerwony rower oparty o białą ścianę",
        "mężczyzna mówi, podczas gdy leci woda",
    ),
    "ru": (
        "коричневая собака бежит по пляжу",
        "двое детей играют под дождём",
        "плотное движение на мокрой улице",
        "женщина режет хлеб на кухне",
        "старая церковь стоит на вершине холма",
        "ночью ветер дует сквозь деревья",
        "красный велосипед стоит у белой стены",
        "мужчина говорит, пока течёт вода",
    ),
}


def photographs() -> list[Image.Image]:
    """Crops of the two photographs that scikit-learn carries, 200 px wide."""
    from sklearn.datasets import load_sample_images

    result = []
    for pixels in load_sample_images().images:
        whole = Image.fromarray(pixels)
        for left in range(0, whole.width - 199, 110):
            for top in range(0, whole.height - 199, 110):
                result.append(whole.crop((left, top, left + 200, top + 200)))
    return result
