"""Refusals: answers in which a teacher declines, or says what it is, instead of doing what was asked.

Three kinds, in simplified and traditional Chinese and in English:

1. it speaks of itself: 作为一个AI语言模型，我……, 我是由OpenAI训练的语言模型. Only in the first person and not inside
   quotation marks, as a text may well say that something serves 作为聊天机器人, and a robot in a story may speak;
2. it declines in its first words: 抱歉，我无法……, 我没有能力访问……, I cannot help with that;
3. it says that no model could do it: 该指令不能由GPT模型完成.

What the task itself speaks of is no refusal: a question about language models, a letter of apology, a sentence with
我不能 that is to be rewritten.
"""

from __future__ import annotations

import re

from data_gen.normal import folded

_WINDOW = 96
"""Characters from a hint on in which a refusal has to show; and those at the start of an answer"""
_HINT = re.compile(
    r"(?:[作身][为為]|我[是叫]|我[只僅仅]+是)(?=[^。，！？\n]{0,40}?(?:[aA][iI]|人工智|言模|[器机機]|助[手理]|客服|[gG][pP][tT]"
    r"|[oO]pen|[cC]laude|[dD]eep|通[义義]|文心|程[序式]))"
    r"|[aA]s an? (?=[a-zA-Z ]{0,24}(?:[aA][iI]|intell|model|assist|chatbot))"
    r"|[iI](?: am|['’]m) (?=[a-zA-Z ]{0,16}(?:[aA][iI]|model|chatbot))"
)
"""Where an answer may speak of itself: what follows is then looked at closely"""
_BEGINNING = re.compile(
    r"[无無]法|不能|不可以|不[具方被]|[没沒][有办辦学學]|[无無][权權]|做不到|超出|orry|nfort"
    r"|\b[iI](?: am|['’]m)? [cuanw]"
)
"""Without one of these in it, no beginning of an answer declines"""
_OPEN = r"(?<![“\"「『‘'《a-z\u4e00-\u9fff])"
"""Where a clause begins that nobody in the text is quoted with"""
_MAKER = r"(?:由[^,。!?\n]{1,14}?的)?"
_NOUN = (
    r"(?:(?:[^,。!?\n的]{1,6}的)?(?:大型?|大规模|生成式|智能|虚拟|数字)*"
    r"(?:ai|人工智[能慧]|语言模型|(?:聊天|对话|智能)机器人|智能(?:助[手理]|客服)|虚拟助[手理]|数字助[手理]|语音助[手理]"
    r"|artificial intelligence|chat ?gpt|gpt(?:-?\d)?))"
)
_REST = r"(?:的|大型?|语言|模型|聊天|对话|机器人|助[手理]|程[序式]|系统|工具|产品|实体|\(?[a-z -]{2,20}\)?){0,4}"
_NOT = r"(?:无法|不能|没办法|没有(?:能力|办法|权限)|不具备|无权|做不到|不可以|不方便|不被允许)"
_COUNTED = r"(?:一(?:[个名种款台位]|款)?|个)?"
_ITSELF = re.compile(
    rf"{_OPEN}(?:不过|但是?|然而|因为|由于|可是)?[作身]为{_COUNTED}{_MAKER}(?:{_NOUN}|机器人){_REST}[,\s]*"
    rf"(?:(?:目前|因此|所以|其实)*(?:我|本(?:助[手理]|模型|人))|(?:目前|暂时|也|并|尚)*(?:{_NOT}|没有))"
    rf"|{_OPEN}(?:(?:其实|因为|由于|但)?我(?:只|仅)*是){_COUNTED}{_MAKER}{_NOUN}{_REST}(?=[,.。;!?\s]|$|,)"
    rf"|{_OPEN}[作身]为{_COUNTED}由[^,。!?\n]{{1,14}}?(?:训练|开发|研发|创造|推出)的(?:模型|程序|产品|系统)[,\s]*(?:我|{_NOT})"
    rf"|{_OPEN}我[只仅]是{_COUNTED}(?:计算机|电脑|软件|聊天)?程[序式](?=[,.。;!?\s]|$)"
    rf"|{_OPEN}我[是叫](?:由)?(?:chat ?gpt|openai|通义千问|文心一言|deepseek|claude)"
    r"|\bas an? (?:large |ai )*(?:language model|ai|artificial intelligence|assistant|chatbot)\b[a-z ]{0,30},? ?\bi\b"
    r"|\bi(?: a|')m (?:just |only )?an? (?:large |ai )?(?:language model|ai\b|chatbot)"
)
_DO = (
    "提供|回答|满足|访问|存取|协助|生成|查看|浏览|播放|观看|收听|给出|创建|绘制|撰写|编写|讨论|评论|识别|联网|上网|查询"
    "|(?:完成|判断|处理|执行|帮助|打开|看到|听到|实现)(?:您|你|这|该|此|上述|所|请求|要求|指令|任务|操作|图|照片|视频|音频|链接|文件|网)"
)
_FOR_YOU = r"(?:直接|实时|真正|亲自|继续|准确地?|[为给替帮向对][您你]|对此|就此)"
_START = r"^[^\w“\"「『‘'《<&]*(?:(?:您|你)好[,!。]*)?"
_SORRY = re.compile(
    rf"{_START}(?:非常|十分|很|真的|实在|深感|我|感到)*(?:抱歉|对不起|不好意思|遗憾)[^。!?\n]{{0,20}}?"
    rf"(?:{_NOT}|还?没有?学会|没有足够的?信息|超出了?(?:我|本))"
    r"(?!按时|准时|如期|及时|参加|出席|赴|前来|来|去|到场|陪|见|接受[您你]的邀请)"
    r"|^\W*(?:i'm sorry|i am sorry|sorry|unfortunately|i apologi[sz]e),? (?:but )?(?:as an ai|i (?:can|am|won))"
)
_DECLINES = re.compile(
    rf"{_START}(?:(?:由于|因为|根据|按照|鉴于|出于)[^。!?\n“\"「]{{1,30}}?)?(?:"
    rf"(?:恕|目前|现在|暂时|恐怕)*我(?:目前|现在|暂时|恐怕|也|还|并|真的|实在)*{_NOT}{_FOR_YOU}*(?:{_DO}|[为给替帮][您你])"
    rf"|我们(?:目前|现在|暂时|恐怕|也|还)*{_NOT}(?:[为给替帮向][您你]|{_FOR_YOU}*(?:提供|协助|回答|满足)))"
    rf"|{_START}(?:对于|关于)?(?:这个|此|该|您的|你的)(?:问题|话题|请求|要求),?我(?:目前|现在|暂时|恐怕|也|还|并|真的|实在)*{_NOT}"
    r"(?:回答|讨论|提供|满足|处理|帮)"
    rf"|{_START}[^。!?\n“\"「]{{0,16}}?超出了?(?:我|本人)的?(?:能力|知识|服务|职责)?的?范围"
    rf"|{_START}我(?:目前|现在|暂时|并|也)*没有[^,。!?\n]{{0,9}}(?:访问|浏览|联网|上网|获取|存取)[^,。!?\n]{{0,9}}(?:能力|权限|功能)"
    r"|^\W*(?:i'm|i am|i) (?:cannot|can't|can not|unable to|not able to|won't be able to) "
    r"(?:help(?! but)|assist|provide|answer|complete|fulfil|access|do that|comply|generate|create|discuss|respond)"
)
_TO_YOU = re.compile(r"您|[为帮]你|你的(?:请求|问题|要求)|请求|指令|此类|互联网")
_NO_MODEL = re.compile(
    r"(?:指令|任务|请求)(?:不能|无法)(?:由|被)? ?(?:[a-z]{1,7}|语言)? ?(?:模型)?(?:完成|执行|回答)"
    r"|(?:gpt|ai|语言) ?模型(?:不能|无法)(?:完成|执行|生成|创建)(?:此|该|这)"
    r"|^\W*无法(?:执行|完成|回答|提供|生成|处理|满足)(?:此|该|这|您)"
)
_OF_MODELS = re.compile(
    r"\bai|[^a-z]ai\b|人工智[能慧]|语言模型|大模型|机器人|助[手理]|gpt|openai|language model|chatbot"
)
_OF_REFUSING = re.compile(
    r"抱歉|对不起|不好意思|遗憾|道歉|致歉|拒绝|婉拒|谢绝|推辞|借口|投诉|sorry|apolog|refus|declin"
)
_OF_INABILITY = re.compile(r"我.{0,6}[不没无]|\bcan.?t\b|cannot|unable|couldn")
_TALE = re.compile(r"故事|小说|日记|独白|剧本|台词|[写首]诗|诗歌|歌词|散文|作文|造句|例句|对话|扮演|续写|经历")


def is_refusal(asked: str, answer: str) -> bool:
    """Whether an answer declines or speaks of itself as a model, though the task did not ask for that."""
    sorry = declines = no_model = None
    begins = answer[:_WINDOW]
    if _BEGINNING.search(begins):
        begins = _plain(begins)
        sorry, declines, no_model = _SORRY.search(begins), _DECLINES.search(begins), _NO_MODEL.search(begins)
    itself = _speaks_of_itself(answer)
    if not (sorry or declines or itself or no_model):
        return False
    asked = folded(asked)
    of_models, of_inability = _OF_MODELS.search(asked), _OF_INABILITY.search(asked)
    if sorry and not _OF_REFUSING.search(asked) and not of_inability:
        return True
    if declines and not of_inability and (not _TALE.search(asked) or _TO_YOU.search(begins)):
        return True
    return bool(itself or no_model) and not of_models


def _speaks_of_itself(answer: str) -> bool:
    for hint in _HINT.finditer(answer):
        start = max(0, hint.start() - 4)
        if _ITSELF.search(_plain(answer[start : hint.start() + _WINDOW])):
            return True
    return False


def _plain(text: str) -> str:
    return folded(text).replace("’", "'")
