"""Tasks that need a picture, film, recording or page which is not there: 请分析这幅画, 将录音转录成文字, 打开以下链接.

A task is one of these when it asks about a particular one (这张照片, 下面的视频, 给定的图像, 照片中的人, 看图回答), and
nothing that comes with it says what is to be seen: a description, lyrics or a title in the input, or after a colon; a
title in 《》; a picture that the task itself makes up (想象一幅画，描述这幅画). An input that only stands for one, such
as [附上照片], ![](…) or a bare address, says nothing. Media as a subject are fine: 写一首关于画的诗, 怎样拍照,
给一幅画起名字.

Both scripts: all of it is compared in simplified characters, with the words of Taiwan and Hong Kong besides.
"""

from __future__ import annotations

import re

from data_gen.normal import folded

LOOKED_AT = 600
"""Characters of an input; a longer one carries what is asked about"""
_HINT = re.compile(
    r"[图圖画畫歌曲雕]|上[传傳]|附[上件带帶]|照片|相片|自拍照|影像|短片|海[报報]|表情包|[xXＸ]光|[视視][频頻訊讯]|影片|音[频頻訊乐樂效轨軌]|[录錄]音|[语語]音|[链鏈連]接|[连連][结結]|漫[画畫]"
    r"|网址|網址|网[站页頁]|網[站頁]|http|www\.|<(?:image|img|video|audio)|藝術品|艺术品",
    re.IGNORECASE,
)
_PICTURE = (
    r"(?:图片|图像|图档|照片|相片|截图|插图|漫画|油画|水彩画|绘画|画作|艺术品|雕塑作品|海报|表情包|自拍照|x光片|图表(?!类型|工具|库|软件)"
    r"|画(?!面|家|风|廊|展|布|法|派|册|室|笔|质|像|框|师|图|画)|图(?!书|案|标|形|像|片|表|画|灵|论|层|例|谱|解|数|中|结构))"
)
_HEARD = (
    r"(?:视频|视讯|影片|短片|音频|音讯|录音|语音(?!识别|助|合成|控)|音轨|歌曲|歌(?!词|手|剧|唱|颂|谣|曲|舞|名|星)|乐曲|曲子|[钢提琵][琴琶]曲|旋律"
    r"|音乐(?!节|会|家|剧|学|课|老师|流派|类型|风格|术语|产业|理论|厅|团|和弦|史))"
)
_NO_TOPIC = (
    r"(?!编辑|处理|制作|类型|格式|分享|软件|应用|程序|工具|平台|网站|算法|模型|识别|分类[器模]|生成[器模]|数据|文件格式|会议|通话|游戏"
    r"|剪辑|脚本|博主|监控|播放器|馆|库|技术|创作|行业|产业|推荐|内容创)"
)
_THIS = (
    r"(?:(?:以下|下面|下列|上面|上述)(?:的|这|给出的|提供的)?|这|(?<![应活])该|(?<![因从如为就至彼由])此|给定的?|所给的?|(?:给出|提供|附上|附带|随附|所附|附件中|上传|展示|所示"
    r"|显示|插入)的|我(?:给你|发|上传|提供|附上|拍)的|(?:所|附)[给附]的?)"
)
_COUNT = r"(?:[一二两三四五六几0-9]{0,2}(?:[张幅帧]|段|个|首|部|则|份|支|条|些|组|件|曲)(?:的)?)?"
_PARTICULAR = re.compile(
    rf"{_THIS}[一两三几0-9]?[张幅帧][^,。;:?!、\n]{{0,10}}?{_PICTURE}{_NO_TOPIC}"
    rf"|{_THIS}{_COUNT}(?:[^,。;:?!、\n的]{{1,4}}的?)??(?P<noun>{_PICTURE}|{_HEARD}){_NO_TOPIC}"
    rf"|{_THIS}(?:[一个条]){{0,2}}(?:链接|连结|网址)(?!格式|类型|语法)"
)
_NAMED = re.compile(r"《[^》]{1,40}》|“[^”]{1,40}”|\"[^\"]{1,40}\"|「[^」]{1,40}」")
_LOOK = re.compile(r"看图(?=回答|写|说|填|完成|判断|选|猜|[,。:;\s]|$)|如图|附图|见图|[上下]图(?!书|像处)")
_MARK = re.compile(r"<(?:image|video|audio)(?:_\d+)?>(?!标签|元素)|<img>(?!标签|元素)")
_ASKS = (
    r"(?:确定|识别|辨认|描述|分析|统计|数出|数一数|找出|指出|说出|列出|读出|提取|检测|判断|猜|看出|解释|概括|总结|计算|请问"
    r"|回答|告诉我|写出|标出|圈出|翻译)"
)
_MEDIUM = r"(?:图片|图像|照片|相片|画|截图|漫画|图表|视频|视讯|影片|音频|音讯|录音)"
_WITHIN = re.compile(
    rf"{_ASKS}[出一下]{{0,2}}(?:[^,。;:?!\n\u4e00-\u9fff]{{0,2}}|这|在){_MEDIUM}(?:中|里|上)(?!使用|添加|加入|常见|如何|怎)"
    rf"|(?:^|[,。;:?!\n])(?:在|从|根据)?(?:图片|图像|照片|相片|截图|视频|影片|录音)(?:中|里|上)[^,。;!\n]{{0,8}}"
    r"(?:是什么|是谁|有什么|有几|有多少|多少|几[只个位人])"
    r"|(?:^|[,。;:?!\n])(?:在|从)?(?:图片|图像|照片|相片|截图|视频|影片|录音)(?:中|里|上)的[^,。;!\n]{1,6}在(?:做|干|说|唱)"
    rf"|(?:^|[^\u4e00-\u9fff]|{_ASKS})图中|(?:^|[,。;:?!\n])图[一二1-4a-d]?[和与跟]图[二三1-4a-d]|找出两[张幅]图"
    r"|(?:描述|观察|根据|依据|看|听|分析)(?:一下)?(?:图片|图像|照片|截图|视频|视讯|影片|录音|音频|音讯)"
    r"(?:的?内容(?:[,。;:?!\n]|$|[回选填写完判])|[,。;:?!\n]|$|(?:写|回答|编写?|说|完成|判断)[出一个段下])"
)
_ACTS = re.compile(
    rf"(?:将|把|请)(?:这段|该|一段)?(?:录音|音频|音讯|语音|视频|视讯|影片)[^,。;\n]{{0,4}}?(?:转录|转写|转换?[成为]|听写|翻译)"
    rf"|(?:转录|转写|听写)(?:这段|以下|该|给定的)?(?:录音|音频|语音|视频|影片)"
    rf"|(?:裁剪|裁切|剪裁|旋转|缩放|放大|缩小|调亮|锐化|美化|修复|编辑)[^,。;\n]{{0,8}}?(?:照片|图片|图像|视频|音频){_NO_TOPIC}"
    rf"|(?:^|[,。;:?!\n请])(?:先|仔细|认真)*(?:观看|收听|聆听|听完|看完|听一听|看一看)[^,。;\n]{{0,6}}?"
    rf"(?:{_MEDIUM}|歌曲|音乐|乐曲|对话录音){_NO_TOPIC}(?!时|可|会|能|对|有)"
    r"|(?:打开|访问|浏览|查看|点击|阅读|参考)[^,。;\n]{0,6}?(?:这个|该|此|以下|下面|下列|给定的?|提供的|某个|我给的|所给的?)"
    r"(?:的|一个)?(?:链接|连结|网址|网站|网页|网上文章)"
    r"|(?:根据|分析|总结|概括|阅读|翻译|查看|打开)(?:一下)?[我您你]?(?:上传|附上|附带|随附|所附|附件[中里])的?"
    r"(?:文件|文档|表格|pdf)(?!名|大小|格式|类型)"
)
_HOW = re.compile(
    r"如何|怎[样么]|哪[些个种]|什么是|为什么|是什么意思|程序|代码|函数|脚本|算法|软件|应用|系统|工具|技术|方法|步骤|技巧|教程|指南|流程"
    r"|区别|优点|好处|原因|python|java|html|css|sql|markdown|latex"
)
_CODE = re.compile(r"程序|代码|函数|脚本|算法|python|java|html|css|sql|markdown|latex|正则")
_LABEL = re.compile(r"^\W*(?:问题?|任务|指令|题目|任务说明|你好|您好)\s*:\s*")
_COLON = re.compile(r"[:\n]")

_ADDRESS = re.compile(
    r"(?:https?://|www\.)[^\s,。;()<>\u4e00-\u9fff]+(?:\s\?\S+)?|\b[a-z0-9-]+\.(?:com|org|net|cn|edu|gov)\b[^\s,。;()<>\u4e00-\u9fff]*"
)
_STANDS_FOR = re.compile(
    r"!\[[^\]\n]{0,80}\](?:\([^)\n]{0,300}\)?|\[[^\]\n]{0,20}\])?"
    rf"|(?:[\[(【<]|&lt;)[^\[\]()【】<>\n]{{0,24}}?(?:{_MEDIUM}|国旗|图形|绘画|歌曲|音乐|链接|连结|附件)[^\[\]()【】<>\n]{{0,14}}(?:[\])】>]|&gt;)"
    r"|^\W*(?:附上?|插入|上传|提供|见|请看)?(?:的|了)?[^,。;\n的]{0,2}"
    rf"(?:图片|图像|照片|相片|画|截图|漫画|图表|视频|影片|音频|录音|附件|链接)\W*$"
    r"|<(?:image|video|audio)(?:_\d+)?>|<img>"
    r"|&lt;无输入&gt;|^\W*(?:无输入|无需输入|没有输入|无|none|n/a)\W*$"
)
_LITTLE = 12
"""Characters that may stand beside what only stands for something: 直方图1：![](…)"""
_BESIDE_ADDRESS = 20
"""Beside an address: 这篇文章是关于未来人工智能的崛起（https://…）"""
_TITLE = 7
"""Characters after a colon; more than these are material"""
_QUESTION = 80
"""Characters of an input that may itself be the question: 如图，求阴影部分的面积"""
_READS = re.compile(
    r"文章|论文|报告|博文|博客|帖子|新闻|报道|故事|文档|pdf|预告片|视频|影片|歌|曲|画|照片|图|艺术品|网页|主页|首页|网站|标题|要点|观点|总结|概括|摘要|描述|评价|评估|批评|分析|阅读"
)
_OF_ADDRESSES = re.compile(
    r"url|https?|api|域名|请求|超?链接到|按钮|标记|引用|编码|解码|正则|二维码|短链|损坏|网站.{0,8}(?:分类|类型|型[别別])|格式|html|css|代码|程序|爬|sql|markdown"
)


def needs_media(instruction: str, given: str) -> bool:
    """Whether a task is about a particular picture, film, recording or page that is neither there nor described."""
    if not (_HINT.search(instruction) or (len(given) <= LOOKED_AT and _HINT.search(given))):
        return False
    asked = _Request(folded(instruction))
    if len(given) > LOOKED_AT:
        return _asks_for_it(asked, len(given))
    given = folded(given)
    bare = _STANDS_FOR.sub("", given)
    without = _ADDRESS.sub("", bare)
    rest = _letters(without)
    if _address_only(asked, bare, without):
        return True
    if bare != given and _HINT.search(given) and rest <= _LITTLE and not _CODE.search(asked.whole):
        return True
    return _asks_for_it(asked, rest) or (rest <= _QUESTION and bool(_LOOK.search(given) or _WITHIN.match(given)))


class _Request:
    """An instruction: `whole`, what is asked (`head`, without what is quoted), and the material after a colon."""

    __slots__ = ("head", "material", "named", "whole")

    def __init__(self, whole: str) -> None:
        self.whole = whole
        text = _ADDRESS.sub("", _LABEL.sub("", whole, count=1))  # the colon in it begins no material
        head, _, self.material = text.partition(found.group()) if (found := _COLON.search(text)) else (text, "", "")
        self.named = bool(_NAMED.search(head))
        self.head = _NAMED.sub("《》", head)


def _asks_for_it(asked: _Request, rest: int) -> bool:
    """Whether it is about a particular one; `rest` is how many characters the input says about it."""
    described = rest > 1
    if not described and (_LOOK.search(asked.head) or _MARK.search(asked.whole)):
        return True
    if asked.named or _letters(_ADDRESS.sub("", asked.material)) > _TITLE or _CODE.search(asked.head):
        return False
    found = None if described else _PARTICULAR.search(asked.head)
    if found and not _made_up(asked.head, found):
        return True
    if rest > _LITTLE or _HOW.search(asked.head):
        return False
    return bool(_ACTS.search(asked.head) or (not described and _WITHIN.search(asked.head)))


def _made_up(head: str, found: re.Match[str]) -> bool:
    """What is spoken of as this one was brought up by the task itself before: 画一幅画，再描述这幅画."""
    before = head[: found.start()]
    return bool(re.search(r"一[张幅首段个部支曲]", before)) or found.group()[-1] in before


def _address_only(asked: _Request, bare: str, without: str) -> bool:
    """What is to be read or seen is an address and nothing else."""
    if _OF_ADDRESSES.search(_ADDRESS.sub("", asked.head)):
        return False
    if without != bare:
        return _letters(without) <= _BESIDE_ADDRESS and bool(_READS.search(asked.head))
    there = _ADDRESS.sub("", asked.whole)
    return (
        there != asked.whole
        and _letters(bare) <= 3
        and bool(re.search(r"总结|概括|阅读|打开|访问|查看|搜索|翻译|分析|评价", there))
    )


def _letters(text: str) -> int:
    return sum(map(str.isalnum, text))
