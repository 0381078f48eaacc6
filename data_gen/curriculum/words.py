"""Open word lists: the material that sentences, strings and classes are made of.

Every word of `CLASSES` stands in exactly one class and the classes are far apart, so that classification and
odd-one-out have one right answer.
"""

from data_gen.curriculum.drawing import listed

SURNAMES = tuple("王李张刘陈杨黄赵周吴徐孙马朱胡林郭何高罗")
GIVEN_NAMES = tuple("明红华丽军强芳伟兰亮英超雪梅东春云龙文静平刚")
SECOND_NAMES = tuple("明华丽文静平安雨欣佳宇子晨思志国海天晓")

STORY_THINGS = tuple(
    (pair[:-1], pair[-1])
    for pair in listed(
        "苹果个 梨个 橘子个 西瓜个 鸡蛋个 气球个 球个 杯子个 盒子个 铅笔支 钢笔支 书本 本子本 邮票张 卡片张 "
        "纸张 花朵 糖颗 星星颗 鱼条 毛巾条 鸟只 鸡只 兔子只 羊只 椅子把 雨伞把 帽子顶 树棵 白菜棵 积木块 "
        "饼干块 蛋糕块 硬币枚"
    )
)
"""Things of the word problems, each with its measure word; they agree with the measure word table"""

CITIES = listed(
    "北京 上海 广州 深圳 天津 重庆 成都 武汉 南京 杭州 西安 长沙 济南 青岛 大连 沈阳 昆明 福州 厦门 苏州 "
    "合肥 郑州 南昌 太原 兰州 海口 贵阳 南宁 长春 银川"
)
PLACES = listed(
    "家里 学校 公园 教室 商店 河边 山上 操场 花园 车站 医院 超市 海边 村口 楼下 门口"
)
ACTIONS = listed(
    "看书 写字 唱歌 跳舞 画画 跑步 吃饭 睡觉 喝水 打球 买东西 等车 聊天 做饭 散步 休息 拍照 学习 下棋 种花"
)
TIMES = listed(
    "今天 昨天 早上 中午 下午 晚上 周末 刚才 春天 夏天 秋天 冬天"
)

CLASSES = {
    name: listed(words)
    for name, words in {
        "水果": "苹果 香蕉 梨 葡萄 西瓜 桃子 橘子 草莓 樱桃 柠檬 荔枝 芒果 菠萝 李子 石榴 木瓜 柿子 杏子",
        "蔬菜": "白菜 萝卜 土豆 黄瓜 茄子 菠菜 芹菜 南瓜 冬瓜 豆角 洋葱 韭菜 青椒 生菜 莲藕 丝瓜 油菜 苦瓜",
        "动物": "老虎 狮子 大象 猴子 兔子 熊猫 长颈鹿 狐狸 山羊 骆驼 松鼠 斑马 乌龟 青蛙 鲸鱼 猫 狗 奶牛",
        "交通工具": "汽车 火车 飞机 轮船 地铁 自行车 摩托车 公交车 卡车 出租车 电动车 直升机 帆船 马车 快艇",
        "颜色": "红色 黄色 蓝色 绿色 白色 黑色 紫色 灰色 粉色 棕色 橙色 金色 银色 青色 米色 深蓝色 浅绿色",
        "家具": "桌子 椅子 沙发 衣柜 书架 床 茶几 书桌 凳子 鞋柜 餐桌 床头柜 书柜 躺椅 酒柜 电视柜",
        "文具": "铅笔 钢笔 橡皮 尺子 毛笔 圆珠笔 文具盒 订书机 胶水 蜡笔 粉笔 笔记本 三角尺 圆规 笔筒 彩笔",
        "衣物": "衬衫 裤子 裙子 毛衣 外套 大衣 袜子 手套 围巾 帽子 背心 短裤 西装 棉袄 睡衣 雨衣",
        "乐器": "钢琴 小提琴 吉他 笛子 二胡 古筝 琵琶 口琴 小号 手风琴 大提琴 铜锣 萨克斯 电子琴 唢呐 箫",
        "身体部位": "眼睛 鼻子 耳朵 嘴巴 手 脚 头 脖子 肩膀 膝盖 手指 牙齿 舌头 肚子 大腿 眉毛",
        "职业": "老师 医生 警察 司机 厨师 护士 律师 记者 演员 画家 作家 歌手 工人 农民 会计 军人",
        "运动": "足球 篮球 排球 网球 游泳 跑步 跳高 跳远 滑冰 滑雪 体操 举重 射箭 拳击 乒乓球 羽毛球",
        "饮料": "牛奶 咖啡 果汁 可乐 豆浆 绿茶 红茶 汽水 奶茶 酸奶 啤酒 红酒 椰汁 橙汁 雪碧 花茶",
    }.items()
}

JOBS = CLASSES["职业"]
WORDS = tuple(word for words in CLASSES.values() for word in words)
SHORT_WORDS = tuple(word for word in WORDS if len(word) == 2) + CITIES + ACTIONS[:7] + TIMES + PLACES
COMMON = tuple(
    "天地人山水火木土日月星云雨雪风花草树叶果春夏秋冬东西南北大小多少上下左右前后红黄蓝绿白黑金银一二三四"
    "五六七八九十百千手足口耳目心头牛羊马鱼鸟虫犬门车船书笔画字词歌诗酒茶米面油刀石光电家国"
)
"""Characters that strings of no meaning are drawn from"""
LATIN = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")

LIKED = listed(
    "很好 真好 很棒 很不错 真不错 非常好 非常棒 太棒了 太好了 好极了 特别好 特别棒 让人高兴 让人满意 "
    "让人开心 我很喜欢 我很满意 我非常喜欢 大家都喜欢 大家都说好 值得推荐 棒极了 比想的好 好得很"
)
DISLIKED = listed(
    "很差 真差 很糟 很不好 真不好 非常差 非常糟 太差了 太糟了 差极了 特别差 特别糟 让人难过 让人失望 "
    "让人生气 我很讨厌 我很失望 我非常讨厌 大家都讨厌 大家都说差 不值得推荐 糟极了 比想的差 差得很"
)
TOPICS = listed(
    "这部电影 这本书 这家饭店 这件衣服 这次旅行 这个手机 今天的天气 这里的服务 这家酒店 这道菜 这首歌 "
    "这场比赛 这辆车 这个杯子 老板的态度 房间的卫生 这台电脑 这双鞋 这个公园 这节课 这家店 这个节目 "
    "这次购物 这个地方 这里的环境 这次活动 这款游戏 这家医院 这个软件 这次演出"
)
