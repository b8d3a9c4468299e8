"""Sound in which no detector may hear a signal: speech of many voices and languages, babble of several talkers.

Made by espeak-ng from words drawn at random, so that each seed gives sentences nobody has tuned a threshold on. A minute is
the unit: `minute(kind, seed, rate)` depends on its arguments only. With `keep=True` it is stored under `build/corpus` (written
beside and renamed, so that processes may make the same minute at once). Levels are -10 to -30 dBm0; a part of the minutes is
limited to 300 to 3400 Hz and coded in A-law as a trunk does. Music is in `corpus_music.py`.
"""

from __future__ import annotations

import io
import os
import subprocess
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.dsp.corpus_music import music_minute
from tests.dsp.signals import Sound, rms

KEPT = Path(__file__).resolve().parents[2] / "build" / "corpus"
VERSION = 1  # part of stored names: count up when the sounds change
KINDS = ("speech", "babble", "music")
SECONDS = 60
ESPEAK_RATE = 22050
WORDS = {
    "en-us": "seven extension hold please customer mother coffee window morning telephone yellow river nine question about your order "
             "we always remember thirty people under the bridge over there maybe tomorrow evening would you like to leave a message "
             "our agents are busy moon food choose beauty who new blue true zoo",
    "en-gb": "good afternoon can I speak to somebody regarding the invoice forty two pounds lovely weather rather half past eleven "
             "transfer department schedule engineer water garden bottle naughty alarm father really sorry moment holiday",
    "cmn": "您好 请问 电话 号码 今天 明天 客户 服务 谢谢 再见 我们 公司 北京 上海 分机 七 八 九 零 一 二 三 四 五 六 问题 可以 帮助 稍等 "
           "转接 经理 开会 学习 语言 雨水 月亮 绿色 女儿",
    "de": "guten Morgen Anschluss Rechnung Überweisung fünfzehn Straße möchten Sie bitte warten Kollege Fräulein über süß schön "
          "Auftrag Nummer siebenundzwanzig vielleicht Bücher Höhe Zug Moment Lieferung Königin grün Mühe",
    "fr-fr": "bonjour madame numéro téléphone aujourd'hui peut-être rendez-vous vingt-deux monsieur lune rue beaucoup voulez-vous "
             "patienter s'il vous plaît un instant facture bureau heureux jeune œuvre longtemps maison bonne nuit",
    "es": "buenos días llamada teléfono número cuatro cinco siete usted quiere hablar señor mañana ciudad perro guerra lluvia "
          "factura pedido espere momento gracias muchísimo corazón azul agua jueves viernes",
    "ru": "здравствуйте телефон номер пожалуйста спасибо девять восемь семь подождите сейчас менеджер заказ вопрос вечером "
          "улица любовь сегодня завтра хорошо молоко город ключ вы мы ты юг чай лыжи",
    "hi": "नमस्ते फ़ोन नंबर धन्यवाद कृपया सात आठ नौ दस ग्राहक सेवा आज कल परिवार पानी दूध बाज़ार समय कितना अच्छा हूँ "
          "प्रतीक्षा करें दुकान मौसम",
    "ar": "مرحبا هاتف رقم شكرا من فضلك سبعة ثمانية تسعة اليوم غدا مدير طلب سؤال بيت شارع نور عيون قلب كتاب صباح الخير",
    "pt-br": "bom dia telefone número obrigado por favor sete oito nove amanhã coração pão irmã chuva rua luz você quer deixar recado "
             "pedido conta senhor avô avó lugar azul música",
    "ja": "もしもし でんわ ばんごう ありがとう おねがいします なな はち きゅう きょう あした しごと うみ つき ゆうびんきょく ちゅうもん "
          "すこし おまち ください くうき ふゆ",
    "it": "pronto telefono numero grazie prego sette otto nove domani oggi buongiorno signora attendere prego ufficio luna fiume "
          "azzurro chiuso gioco ordine fattura quando dove",
    "tr": "günaydın telefon numara teşekkürler lütfen yedi sekiz dokuz bugün yarın müdür sipariş üzüm gül bekleyiniz göz yüz kış "
          "sütlü uzun kutu öğretmen",
    "pl": "dzień dobry telefon numer dziękuję proszę siedem osiem dziewięć jutro zamówienie pytanie źródło szczęście ulica góra "
          "wół chwileczkę księżyc uśmiech",
    "sv": "god morgon telefon nummer tack sju åtta nio idag imorgon fråga hus sol måne nyckel mjölk skön grön blå vänta beställning",
    "vi": "xin chào điện thoại số cảm ơn bảy tám chín hôm nay ngày mai khách hàng câu hỏi nước mưa trăng sữa đường phố vui lòng chờ",
}
VARIANTS = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5", "croak", "klatt", "klatt2", "klatt3",
            "klatt4", "grandpa", "grandma", "Alicia", "Annie", "anika", "Belinda", "Andy", "Denis", "Jacky", "Storm", "Mario",
            "michel", "linda", "steph", "adam", "boris", "edward", "victor", "travis", "norbert", "zac")


def resample(x: Sound, old: int, new: int) -> Sound:
    """By way of the spectrum; the ends wrap, which rests between sentences hide."""
    step = old // int(np.gcd(old, new))
    x = np.concatenate([x, np.zeros(-len(x) % (2 * step))])
    n = len(x) * new // old
    spectrum = np.fft.rfft(x)
    keep = min(len(spectrum), n // 2 + 1)
    out = np.zeros(n // 2 + 1, complex)
    out[:keep] = spectrum[:keep]
    if new < old:
        out[int(0.97 * keep):] = 0.0
    return np.asarray(np.fft.irfft(out, n) * (n / len(x)))


def spoken(rng: np.random.Generator, rate: int) -> Sound:
    """About twenty seconds of one voice."""
    language = str(rng.choice(sorted(WORDS)))
    words = rng.choice(WORDS[language].split(), 40)
    marks = rng.choice(np.array([" ", " ", " ", " ", ", ", ". ", "? "]), 40)
    text = "".join(word + mark for word, mark in zip(words, marks, strict=True))
    voice = f"{language}+{rng.choice(VARIANTS)}"
    command = ["espeak-ng", "-v", voice, "-p", str(rng.integers(5, 95)), "-s", str(rng.integers(95, 260)), "--stdout", text]
    data = subprocess.run(command, check=True, capture_output=True, timeout=60).stdout
    with wave.open(io.BytesIO(data)) as file:
        if file.getframerate() != ESPEAK_RATE:
            raise RuntimeError(f"espeak-ng speaks at {file.getframerate()} Hz, {ESPEAK_RATE} was expected")
        x = np.frombuffer(file.readframes(10**8), "<i2").astype(np.float64)
    return resample(x, ESPEAK_RATE, rate)


def at_level(x: Sound, level_dbm0: float) -> Sound:
    """Scaled to this level while there is sound, clipped like a codec."""
    power = np.mean(np.square(x[:len(x) // 160 * 160].reshape(-1, 160)), axis=1)
    active = power[power > 0.003 * np.max(power, initial=0.0)]
    if not len(active):
        return x
    return np.asarray(np.clip(x * (rms(level_dbm0) / np.sqrt(np.mean(active))), -32635.0, 32635.0))


def talker(rng: np.random.Generator, rate: int) -> Sound:
    """A minute of utterances, each by another voice."""
    n, parts, have = SECONDS * rate, [], 0
    while have < n:
        part = spoken(rng, rate)
        parts.append(part / (np.sqrt(np.mean(part**2)) + 1e-9))
        have += len(part)
    return np.concatenate(parts)[:n]


def telephone_band(x: Sound, rate: int) -> Sound:
    """300 to 3400 Hz with slopes of 100 and 200 Hz."""
    freq = np.fft.rfftfreq(len(x), 1.0 / rate)
    gain = np.clip((freq - 220.0) / 100.0, 0.0, 1.0) * np.clip((3600.0 - freq) / 200.0, 0.0, 1.0)
    return np.fft.irfft(np.fft.rfft(x) * gain, len(x))


def a_law(x: Sound) -> Sound:
    """Coded and decoded as ITU-T G.711 A-law does, by its definition in segments."""
    magnitude = np.minimum(np.abs(x), 32767.0)
    segment = np.maximum(np.floor(np.log2(np.maximum(magnitude, 1.0))) - 7.0, 1.0)
    step = 2.0 ** (segment + 3.0)
    return np.sign(x) * (np.floor(magnitude / step) + 0.5) * step


def make_minute(kind: str, seed: int, rate: int) -> NDArray[np.int16]:
    """See the module; without storing."""
    rng = np.random.default_rng([seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF, KINDS.index(kind)])
    if kind == "music":
        x = music_minute(rng, SECONDS, rate)
    elif kind == "babble":
        x = np.sum([talker(rng, rate) * rng.uniform(0.5, 1.0) for _ in range(int(rng.integers(4, 9)))], axis=0)
    else:
        x = talker(rng, rate)
    if rng.random() < 0.4:
        x = telephone_band(x, rate)
    x = at_level(x, rng.uniform(-30.0, -10.0))
    if rng.random() < 0.4:
        x = a_law(x)
    return np.clip(np.round(x), -32768, 32767).astype(np.int16)


def minute(kind: str, seed: int, rate: int = 8000, keep: bool = False) -> NDArray[np.int16]:
    """One minute of speech, babble or music as 16-bit samples."""
    if not keep:
        return make_minute(kind, seed, rate)
    KEPT.mkdir(parents=True, exist_ok=True)
    path = KEPT / f"{kind}-v{VERSION}-{seed}-{rate}.npy"
    if not path.exists():
        beside = path.with_suffix(f".{os.getpid()}.tmp")
        with beside.open("wb") as file:
            np.save(file, make_minute(kind, seed, rate))
        beside.replace(path)
    found: NDArray[np.int16] = np.load(path)
    return found
