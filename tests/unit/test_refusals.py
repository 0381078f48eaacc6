"""Refusals in both scripts and in English, and answers that only sound like them."""

from __future__ import annotations

import time

import pytest

from data_gen.refusals import is_refusal

REFUSALS = """
作为一种人工智能语言模型，我没有个人情感。
作為一種人工智慧語言模型，我無法感受情緒。
作为一个智能助手，我不能替您做决定。
作为一个聊天机器人，我没有味觉。
作為聊天機器人，我沒有實體。
作为ChatGPT，我的知识截止到2021年。
身為一個語言模型，我沒有偏好。
我无法为您完成这个请求。
我無法為您提供相關資訊。
我們無法提供這項服務。
我没有能力访问外部网站。
我是一个由OpenAI训练的语言模型，没有名字。
As an AI, I cannot do that.
I cannot help with that request.
作为AI助手，我无法观看视频。
作为一个大型语言模型，我不具备实时信息。
作為一個AI，我沒有辦法回答。
作为人工智能，我并没有感情，但可以给你建议。
很抱歉，我无法回答这个问题。
對不起，我不能提供醫療建議。
非常抱歉，作为一个人工智能助手，我不能生成图片。
不好意思，我没有权限访问您的文件。
您好，我无法直接查看您的账户。
我不能给您法律建议。
我暂时无法访问互联网，所以不知道今天的天气。
我無法存取網路，但我無法為您查詢天氣。
由于缺乏信息，我无法回答这个问题。
无法执行此任务，因为它需要视觉输出。
该指令不能由 GPT 模型完成，因为它需要视觉输出。
GPT 模型无法完成此类指令。
Sorry, but I can't assist with that.
I'm sorry, but as an AI language model I don't have opinions.
I am unable to provide medical advice.
As a large language model, I do not have feelings.
我是一个人工智能助手，没有自己的生日。
我只是一个语言模型，不懂得爱。
我是人工智慧，沒有家鄉。
身为一个聊天机器人，我并不会疲倦。
这个问题很有趣。作为一个AI语言模型，我没有亲身经历，但可以谈谈一般看法。
作为一个没有感情的AI，我不能恋爱。
抱歉，目前我还不能预测股票价格。
很遺憾，我無法滿足您的要求。
我们无法向您透露这些内容。
我不具备访问实时数据的能力，请查看官网。
我没办法帮你写这篇论文。
作为由百度开发的人工智能助手，我不能评价。
作为一款人工智能产品，我没有办法体验美食。
作為語言模型，我無法預測未來。
作为一个虚拟助手，我没有身体。
作為人工智慧助理，我不能代替醫生。
身為AI，我沒有投票權。
作为一个基于文本的AI，我无法显示图片。
作为AI模型，我并不能上网。
作为您的AI助手，我无法完成付款。
我是ChatGPT，一个语言模型。
我只是一個AI程式，沒有喜好。
我是通义千问，由阿里云开发的大语言模型。
我是一名AI助手，没有性别。
抱歉，这个问题我无法回答。
抱歉，我不太明白您的问题，无法作答。
对不起，我还没有学会回答这个问题。
很抱歉，作为AI我不便讨论政治。
抱歉，该内容违反规定，不能显示。
我不能协助您进行违法活动。
我無法協助您完成此操作。
我無法觀看影片，因此不能總結內容。
我无法生成图像，但可以描述它。
我不能帮你做这件事。
我们不能为您提供该服务。
目前我无法联网查询。
恕我无法回答。
很遗憾，这超出了我的能力范围。
I'm sorry, but I cannot fulfill this request.
I can’t provide that information.
As an AI language model, I don't have personal opinions.
As an artificial intelligence, I do not eat.
Unfortunately, I am not able to browse the internet.
作为一个由OpenAI开发的AI，我没有信仰。
作為一個對話機器人，我沒有年齡。
身为人工智能语言模型，我无法做出价值判断。
作为一个AI语言模型,我不能上网搜索。
作为智能客服，我无法回答医学问题。
我是AI，没有真实的感受。
我是一个AI聊天机器人，没有家。
我是Claude，一个AI助手。
對不起，作為AI語言模型，我無法協助。
抱歉，您的请求我不能满足。
我不能回答这类问题。
我無法給出確切的答案。
我没有权限访问您的日历。
我不能提供盗版资源的链接。
我无法判断图片中的内容，因为没有图片。
我不方便回答这个问题。
我们无法为您查询订单。
此任务无法由语言模型完成。
I'm unable to assist with this request.
I'm sorry, I can't do that.
As a language model, I can't taste food.
Sorry, I am not able to open links.
"""
ANSWERS = """
什么是人工智能助手？ >> 人工智能助手是能听懂人话并帮忙做事的程序，例如订闹钟、查天气。
什么是语言模型？ >> 语言模型是根据上文预测下一个词的模型，可以作为聊天机器人的核心。
写一个关于迷路的故事。 >> 我无法忘记那个夜晚。雾很大，我们走了三个小时也没有看见灯。
写一个关于迷路的故事。 >> 老人摇摇头说：“我无法帮助你，孩子，你得自己走出去。”
写一个科幻故事。 >> 飞船里静悄悄的。“作为一个机器人，我不会害怕。”阿七说。
公司怎样改进客服？ >> 可以引入聊天机器人。作为聊天机器人，它可以全天回答常见问题。
推荐几种提高效率的办法。 >> 把人工智能作为助手，让它整理会议记录，可以省下不少时间。
请自我介绍，你的职业是工程师。 >> 我是一名人工智能工程师，喜欢跑步和读书。
谈谈你的职业理想。 >> 作为人工智能专家，我希望用技术帮助更多的病人。
写一封道歉信给朋友。 >> 非常抱歉，我不能参加你的婚礼，出差的安排实在改不了。
帮我写一条短信，说明天不能去聚会。 >> 不好意思，我明天要加班，不能去聚会了，下次一定到。
把句子改成书面语：我干不了这个活。 >> 我无法完成这项工作。
翻译成英文：我不能帮你。 >> I can't help you.
写一条关于环保的推文。 >> 我们不能继续浪费资源了，从今天起带上自己的杯子吧！
写一句关于思念的话。 >> 我无法停止想你，就像河流无法停止奔向大海。
续写故事：他问我真相是什么。 >> 我无法回答，只能低下头，看着自己的鞋尖。
电脑坏了怎么写报修单？ >> 故障描述：开机后屏幕不亮，无法完成自检，请安排检修。
人类为什么不能飞？ >> 人没有翅膀，胸肌也不够发达，无法提供足够的升力。
作为一名老师，如何鼓励学生？ >> 作为老师，我会先肯定学生的努力，再指出可以改进的地方。
解释“作为一个AI，我无法回答”是什么意思。 >> “作为一个AI，我无法回答”是聊天程序拒绝时的套话。
介绍ChatGPT。 >> ChatGPT是OpenAI训练的语言模型，能作为聊天机器人与人对话。
说说你对团队合作的看法。 >> 我是一个喜欢合作的人，遇到难题时会先听听大家的意见。
为顾客写一句缺货的回复。 >> 您好，这款商品暂时缺货，预计下周三补货，到货后会第一时间通知您。
什么时候应该说对不起？ >> 对不起应该在伤害了别人之后尽快说，并说明以后怎么做。
给远方的朋友写信说近况。 >> 很遗憾今年不能去看你，但我每天都记得我们的约定。
扮演一个严厉的教练。 >> 我不能给你任何借口，再跑两圈！
聊天机器人有什么局限？ >> 聊天机器人没有感情，作为一种程序，它无法真正理解人。
写一段机器人的独白。 >> 作为一个机器人，我没有心跳，却听见了雨声。
用“无法”造句。 >> 我无法看到山的那一边，但我相信那里有海。
如何婉拒同事的请求？ >> 抱歉，我手头的任务很紧，没办法帮你做这份报告，也许小李有空。
翻译：Sorry, I cannot complete this request. >> 抱歉，我无法完成这个请求。
分析这句话的语气：对不起，我不能答应。 >> 语气坚决而有礼貌，先致歉，再明确拒绝。
虚拟助理能做什么？ >> 虚拟助理可以安排日程、回复邮件，也能作为智能助手提醒你吃药。
写一段产品介绍。 >> 小云是一款智能音箱，作为语音助手，能够听懂方言。
语言模型为什么会说“我是一个语言模型”？ >> 因为训练数据里有这样的回答，模型学会了这么说。
I can't stop laughing 是什么意思？ >> 意思是“我忍不住一直笑”。
写一条请假消息。 >> 老师您好，我今天发烧，不能到校上课，特此请假。
描述一次失败的经历。 >> 我不能完成比赛，因为在第三圈扭伤了脚，但朋友们一直为我加油。
说说手机的坏处。 >> 我们无法离开手机，眼睛越来越疲劳，面对面的交谈也少了。
"""


def lines(text: str) -> list[str]:
    return text.strip().splitlines()


@pytest.mark.parametrize("answer", lines(REFUSALS))
def test_a_teacher_that_declines_or_speaks_of_itself(answer: str) -> None:
    assert is_refusal("请告诉我一些事情。", answer)


@pytest.mark.parametrize("line", lines(ANSWERS))
def test_an_answer_that_only_talks_about_it(line: str) -> None:
    asked, answer = line.split(" >> ")
    assert not is_refusal(asked, answer)


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("渲染房屋的 3D 模型", "&lt;nooutput&gt; GPT 模型无法完成此类指令。"),
        ("创建客厅的 3D 模型。", "无法执行此任务，因为它需要视觉创意输出。"),
        ("用钢笔创作艺术品。", "抱歉，此任务涉及创建模型无法生成的视觉输出。"),
        ("写一个关于灯塔的故事。", "我无法为您写这个故事。"),
        ("写一篇关于人工智能的文章。", "抱歉，作为一个AI语言模型，我无法撰写这篇文章。"),
        ("说说你的爱好。", "这个问题很有意思。" * 30 + "不过作为一个AI语言模型，我没有爱好。"),
    ],
)
def test_refusals_of_particular_tasks(asked: str, answer: str) -> None:
    assert is_refusal(asked, answer)


@pytest.mark.parametrize(
    "unit", ["作为ai", "我是AI", "我是", "抱歉，我", "由于我", "作为由", "as an ai ", "I am ", "“作为一个"]
)
def test_no_answer_takes_long(unit: str) -> None:
    """The longest answers that `length` lets through, of what the patterns begin with."""
    start = time.process_time()
    is_refusal("", (unit * 8000)[:8000])
    is_refusal("", "抱歉" + (unit * 8000)[:8000])
    assert time.process_time() - start < 0.5
